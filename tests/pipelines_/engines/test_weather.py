import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import SIMULATED_CONDITIONS, Condition, physical_values
from nightrain.pipelines.engines.base import Engine, Variant
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.engines.weather.lamps.street_lamps import Lamp, draw_far_traffic, lamp_lux
from nightrain.pipelines.engines.weather.night import light_up, seen_at_night
from nightrain.pipelines.engines.weather.optics import veil as air
from nightrain.pipelines.engines.weather.optics.ground import fit_ground, surface_normals
from nightrain.pipelines.engines.weather.optics.ground_mirror import FACTOR as MIRROR_FACTOR
from nightrain.pipelines.engines.weather.optics.ground_mirror import mirrored
from nightrain.pipelines.engines.weather.optics.headlights import headlight_lux, own_car
from nightrain.pipelines.engines.weather.optics.optical_scene import read_scene
from nightrain.pipelines.engines.weather.optics.particles import layer_opacity
from nightrain.pipelines.engines.weather.optics.photometry import (
    add_sensor_noise,
    expose,
    linear_to_srgb,
    luminance,
    normal_deviates,
    srgb_to_linear,
)
from nightrain.pipelines.engines.weather.optics.wet import fresnel_reflectance
from nightrain.pipelines.engines.weather.rain import (
    fall_speed_m_per_s,
    rain,
    rain_extinction_per_m,
    rain_shower,
    size_slope_per_mm,
)
from nightrain.pipelines.engines.weather.settings import WeatherSettings
from nightrain.pipelines.engines.weather.snow import snow_cover, snow_extinction_per_m
from support.weather_street import (
    CAMERA_HEIGHT_M,
    intrinsics,
    light,
    picture,
    request,
    rng,
    street,
)

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


# Photometry


def test_srgb_survives_linear_light_and_back():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(linear_to_srgb(srgb_to_linear(grey)), grey)


def test_film_is_linear_in_the_dark_and_white_for_lamps():
    dark = np.full((4, 4, 3), 0.01, np.float32)
    assert abs(int(expose(dark)[0, 0, 0]) - int(linear_to_srgb(dark)[0, 0, 0])) <= 1
    assert expose(np.full((4, 4, 3), 50, np.float32)).min() == 255


@pytest.mark.parametrize("signal", [0.0, 0.02, 0.3])
def test_noise_variance_is_shot_times_signal_plus_read_squared(signal):
    flat = np.full((300, 300, 3), signal, np.float32)
    noise = add_sensor_noise(flat, 0.004, 0.01, rng()) - flat
    assert np.var(noise) == pytest.approx(0.004 * signal + 0.01**2, rel=0.02)
    assert abs(noise.mean()) < 4 * np.sqrt(np.var(noise) / noise.size)


def test_deviates_are_normal():
    """Against the exact distribution: no quantile is further off than a level is wide."""
    found = np.sort(normal_deviates((200, 300, 3), rng()).ravel())
    exact = np.sort(rng(1).standard_normal(found.size))
    middle = slice(found.size // 100, -found.size // 100)
    assert np.abs(found[middle] - exact[middle]).max() < 0.2
    assert abs(found.mean()) < 0.01 and found.std() == pytest.approx(1, abs=0.01)


# Severity


@pytest.mark.parametrize(
    ("condition", "name", "at_zero", "at_one"),
    [
        (Condition.FOG, "visibility_m", 600, 30),
        (Condition.RAIN, "rain_mm_per_h", 2, 100),
        (Condition.SNOW, "snow_mm_per_h", 0.5, 6),
        (Condition.NIGHT, "ambient_lux", 3, 0.08),
        (Condition.NIGHT_RAIN, "ambient_lux", 3, 0.08),
        (Condition.NIGHT_RAIN, "rain_mm_per_h", 2, 50),
    ],
)
def test_severity_maps_monotonically_to_its_physical_ends(condition, name, at_zero, at_one):
    values = [physical_values(condition, s)[name] for s in np.linspace(0, 1, 21)]
    assert values[0] == pytest.approx(at_zero)
    assert values[-1] == pytest.approx(at_one)
    steps = np.diff(np.log(values))
    assert np.allclose(steps, steps[0])
    assert abs(steps[0]) > 0


def contrast(image):
    wall = light(image)[70:84, 40:280]
    return float(wall.std() / wall.mean())


def striped(scene):
    image, depth, k = scene
    image = image.copy()
    image[:, ::16] //= 3
    image[:, 1::16] //= 3
    return image, depth, k


STATISTICS = {
    Condition.FOG: lambda image: -contrast(image),
    Condition.RAIN: lambda image: -contrast(image),
    Condition.SNOW: lambda image: float(light(image)[100:].mean()),
    Condition.NIGHT: lambda image: -float(light(image).mean()),
    Condition.NIGHT_RAIN: lambda image: -float(light(image).mean()),
}


@pytest.mark.parametrize("condition", SIMULATED_CONDITIONS)
def test_severity_orders_what_is_seen(condition):
    scene = striped(street())
    seen = [
        np.mean(
            [
                STATISTICS[condition](
                    picture(condition=condition, severity=s, seed=seed, scene=scene)
                )
                for seed in (1, 2)
            ]
        )
        for s in SEVERITIES
    ]
    ranks = np.argsort(np.argsort(seen))
    spearman = np.corrcoef(ranks, np.arange(len(SEVERITIES)))[0, 1]
    assert spearman > 0.94, seen


# Fog


def test_fog_at_one_distance_is_koschmieder():
    clear = rng().uniform(0, 1, (20, 30, 3)).astype(np.float32)
    airlight = np.array([0.5, 0.6, 0.7], np.float32)
    beta = air.extinction_per_m(visibility_m=80.0)
    t = air.transmission(np.full((20, 30), 40.0, np.float32), beta)
    expected = clear * np.exp(-beta * 40) + airlight * (1 - np.exp(-beta * 40))
    np.testing.assert_allclose(air.koschmieder(clear, airlight, t), expected, atol=2e-6)
    field = np.broadcast_to(airlight, clear.shape).copy()
    np.testing.assert_allclose(air.koschmieder(clear, field, t), expected, atol=2e-6)


def test_contrast_at_the_visibility_is_five_percent():
    beta = air.extinction_per_m(visibility_m=120.0)
    assert beta == pytest.approx(3.0 / 120, rel=0.002)
    assert air.transmission(np.float32([[120.0]]), beta)[0, 0] == pytest.approx(0.05, rel=1e-5)


def test_fog_of_the_engine_takes_contrast_by_distance():
    image, _, k = street()
    image = np.where((np.arange(320) // 10 % 2)[None, :, None], 180, 60).astype(np.uint8)
    image = np.repeat(image, 180, axis=0)
    image = np.repeat(image, 3, axis=2)[..., :3]
    scene = read_scene(request(scene=(image, np.full((180, 320), 50, np.float32), k)))
    ratios = []
    for visibility_m in (400.0, 100.0):
        foggy = luminance(air.fog(scene, visibility_m, rng(2)))[80:100]
        step = foggy[:, 155].mean() - foggy[:, 145].mean()
        clear_step = scene.luminance[80:100, 155].mean() - scene.luminance[80:100, 145].mean()
        ratios.append(step / clear_step)
    # The light behind fog is the same at both; the density ripples by some tens of percent.
    more = air.extinction_per_m(100.0) - air.extinction_per_m(400.0)
    assert np.log(ratios[0] / ratios[1]) == pytest.approx(more * 50, rel=0.35)


# Ground, mirror


def test_ground_plane_is_found():
    _, depth, k = street()
    plane = fit_ground(depth, k)
    assert plane.height_m == pytest.approx(CAMERA_HEIGHT_M, rel=1e-3)
    assert plane.normal_down[1] > 0.9999


def test_a_tilted_ground_plane_is_found():
    _, _, k = street()
    pitch = np.deg2rad(3.0)
    x, y = (np.arange(320) - k[0, 2]) / k[0, 0], (np.arange(180)[:, None] - k[1, 2]) / k[1, 1]
    inverse = (np.cos(pitch) * y + np.sin(pitch) + 0 * x) / 1.4
    depth = np.where(inverse > 1 / 80, 1 / np.maximum(inverse, 1e-6), np.inf).astype(np.float32)
    depth *= rng().normal(1, 0.01, depth.shape).astype(np.float32)
    plane = fit_ground(depth, k)
    assert plane.height_m == pytest.approx(1.4, rel=0.02)
    assert np.arctan2(plane.normal_down[2], plane.normal_down[1]) == pytest.approx(pitch, abs=0.005)


def test_normals_of_road_and_wall():
    _, depth, k = street()
    normals = surface_normals(depth, k, factor=2)
    np.testing.assert_allclose(normals[82, 80], [0, -1, 0], atol=0.05)  # the road, near
    np.testing.assert_allclose(normals[42, 80], [0, 0, -1], atol=0.05)  # the wall


@pytest.mark.parametrize("height_m", [0.8, 1.5, 2.3])
def test_wet_ground_mirrors_a_wall_mark_at_its_analytic_row(height_m):
    image, depth, k = street(640, 360, wall_m=12.0)
    horizon, scale = k[1, 2], k[1, 1] / 12.0
    mark = round(horizon + (CAMERA_HEIGHT_M - height_m) * scale)
    image[:] = 20
    image[mark - 3 : mark + 4] = 250
    scene = read_scene(request(scene=(image, depth, k)))
    shown = mirrored(scene.clear, scene).sharp[:, 100, 0]
    expected = horizon + (CAMERA_HEIGHT_M + height_m) * scale
    bright = np.flatnonzero(shown > 0.5 * shown.max())
    assert shown.max() > 0.3
    assert (bright.mean() + 0.5) * MIRROR_FACTOR - 0.5 == pytest.approx(expected, abs=5)


def test_fresnel_reflectance_of_water():
    at_zero = ((1.33 - 1) / (1.33 + 1)) ** 2
    reflectance = fresnel_reflectance(np.float32([1.0, 0.5, 0.0]))
    assert reflectance[0] == pytest.approx(at_zero, rel=1e-4)
    assert reflectance[2] == pytest.approx(1, abs=1e-4)
    # At 60 degrees, from Fresnel's equations with the angle of refraction.
    i, t = np.deg2rad(60), np.arcsin(np.sin(np.deg2rad(60)) / 1.33)
    s, p = np.sin(i - t) / np.sin(i + t), np.tan(i - t) / np.tan(i + t)
    assert reflectance[1] == pytest.approx((s * s + p * p) / 2, rel=1e-4)


# Rain and snow


def test_rain_follows_its_sources():
    assert size_slope_per_mm(1.0) == pytest.approx(4.1)
    assert size_slope_per_mm(25.0) == pytest.approx(2.09, abs=0.01)  # Marshall-Palmer, 25 mm/h
    assert fall_speed_m_per_s(np.array([2.0]))[0] == pytest.approx(6.49, abs=0.1)  # Gunn-Kinzer
    assert rain_extinction_per_m(10.0) == pytest.approx(0.312e-3 * 10**0.67)
    showers = [rain_shower(rate, 0.01, rng()).per_m3 for rate in (2.0, 10.0, 50.0)]
    assert showers[0] < showers[1] < showers[2]


def test_snow_extinction_follows_itu():
    assert snow_extinction_per_m(1.0) == pytest.approx(5.526 / 4.343 / 1000, rel=1e-3)
    assert snow_extinction_per_m(5.0) / snow_extinction_per_m(1.0) == pytest.approx(5**1.38)


def test_nearer_geometry_hides_a_layer():
    image, _, k = street()
    depth = np.full((180, 320), 50.0, np.float32)
    depth[:, :160] = 3.0
    scene = read_scene(request(scene=(image, depth, k)))
    opacity = layer_opacity(rain_shower(80.0, 0.02, rng()), scene, 4.0, 8.0, rng())
    assert opacity[:, :160].max() == 0
    assert opacity[:, 160:].mean() > 5e-4
    near = layer_opacity(rain_shower(80.0, 0.02, rng()), scene, 0.5, 2.0, rng())
    assert near[:, :160].mean() > 0.3 * near[:, 160:].mean() > 0


def test_streaks_brighten_dark_places_and_grow_in_number():
    image, depth, k = street()
    image[np.isfinite(depth)] = 12
    scene = read_scene(request(scene=(image, depth, k)))
    fine = []
    for rate in (2.0, 20.0, 100.0):
        grey = luminance(rain(scene, rate, 0.0, rng(3)))[60:84]
        fine.append(float((grey - cv2.blur(grey, (9, 9))).std()))
    assert fine[0] < fine[1] < fine[2]


def test_snow_lies_on_the_road_and_grows():
    scene = read_scene(request())
    covers = [snow_cover(scene, s, rng(1)) for s in (0.0, 0.5, 1.0)]
    road, wall = np.s_[110:170], np.s_[72:84]
    means = [float(cover[road].mean()) for cover in covers]
    assert means[0] < 0.1 < means[1] < means[2]
    assert means[2] > 0.8
    assert covers[2][wall].mean() < 0.1
    assert covers[2][:20].max() == 0  # the sky


# Night


def test_headlights_fall_off_with_distance_squared():
    lamp, down = np.array([0.6, 0.9, 0.5]), np.array([0.0, 1.0, 0.0])
    along = np.array([0.02, 0.03, 1.0]) / np.linalg.norm([0.02, 0.03, 1.0])
    distances = np.array([5.0, 10.0, 20.0, 40.0])
    points = (lamp[:, None] + along[:, None] * distances).astype(np.float32)
    car = own_car(None, down, 1.5)
    lux, towards = headlight_lux(points, lamp, down, car)
    np.testing.assert_allclose(lux * distances**2, lux[0] * 25, rtol=1e-4)
    np.testing.assert_allclose(towards, -np.repeat(along[:, None], 4, axis=1), atol=1e-5)
    above = headlight_lux(np.float32([[0.6], [0.9 - 2.0], [20.5]]), lamp, down, car)[0]
    assert above[0] < 0.05 * lux[2]  # the cut-off
    assert headlight_lux(np.float32([[0.6], [0.9], [-5.0]]), lamp, down, car)[0][0] == 0


def mounted(yaw_degrees, ahead_m=1.7, height_m=1.5):
    """T_ego_camera of a level camera that looks `yaw_degrees` to the left of straight ahead."""
    yaw = np.radians(yaw_degrees)
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right, down = np.array([np.sin(yaw), -np.cos(yaw), 0.0]), np.array([0.0, 0.0, -1.0])
    mounting = np.eye(4)
    mounting[:3, :3] = np.stack([right, down, forward], axis=1)
    mounting[:3, 3] = ahead_m, 0.0, height_m
    return mounting


def test_the_lamps_are_where_the_car_has_them():
    down = np.array([0.0, 1.0, 0.0])
    front = own_car(mounted(0), down, 1.5)
    np.testing.assert_allclose(front.forward, [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(front.lamps_m.mean(0), [0, 0.84, 1.5], atol=1e-6)
    assert front.lamps_m[0, 0] < front.lamps_m[1, 0]  # left, right
    back = own_car(mounted(180, ahead_m=0.0), down, 1.5)
    np.testing.assert_allclose(back.forward, [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(back.lamps_m.mean(0), [0, 0.84, -3.2], atol=1e-6)
    left = own_car(mounted(90), down, 1.5)
    np.testing.assert_allclose(left.forward, [1, 0, 0], atol=1e-6)  # ahead is to its right


def test_our_headlights_light_the_road_ahead_and_not_the_one_behind():
    def road(mounting):
        scene = read_scene(request(Condition.NIGHT, T_ego_camera=mounting))
        lit = light_up(scene, physical_values(Condition.NIGHT, 0.6), 0.6, rng(1))
        return luminance(lit.radiance)[120:, 100:220].mean()

    assert road(mounted(0)) > 2 * road(mounted(180))
    assert road(None) > 2 * road(mounted(180))


def test_a_facing_wall_is_lit_by_distance_squared():
    def lit(wall_m):
        image, depth, k = street(960, 540, wall_m, wall_height_m=50.0)
        image[:] = 128
        scene = read_scene(request(scene=(image, depth, k)))
        dark = {"ambient_lux": 0.0, "street_lamp_cd": 0.0, "sensor_gain": 1.0}
        radiance = luminance(light_up(scene, dark, 1.0, rng(1)).radiance)
        # Where the lamps, 0.94 m below the camera and 0.6 m ahead, shine 1.5 % downwards.
        below_m = 0.94 + 0.015 * (wall_m - 0.6)
        row = round(k[1, 2] + below_m / wall_m * k[1, 1])
        return float(np.median(radiance[row - 1 : row + 2, 470:490]))

    # Farther walls see the lamps under other angles, so the beam's shape enters a little.
    assert lit(8.0) / lit(14.0) == pytest.approx((13.4 / 7.4) ** 2, rel=0.2)


def test_street_lamps_light_what_is_below_them():
    lamp = Lamp(position_m=np.array([0, -6.0, 20.0]), candela=1000)
    down = np.array([0.0, 1.0, 0.0])
    points = np.float32([[0, 0, 0], [-2.0, 2.0, -9.0], [20, 20, 20]])  # below, below, above
    lux, _ = lamp_lux(points, lamp, down)
    np.testing.assert_allclose(lux, [1000 / 16, 1000 / 64, 0], rtol=1e-5)


def test_a_small_distant_patch_holds_few_lights_of_traffic():
    def lights(patch_px):
        image, depth, k = street(768, 432)
        depth = np.minimum(depth, 25.0)
        depth[218:228, 384 - patch_px // 2 : 384 + patch_px // 2] = 60.0
        scene = read_scene(request(scene=(image, depth, k)))
        dark = np.zeros((432, 768, 3), np.float32)
        draw_far_traffic(dark, scene, 20, 5.0, rng(5))
        return cv2.connectedComponents((dark.max(2) > 0.05).astype(np.uint8))[0] - 1

    assert lights(20) == 1
    assert lights(180) > 1


def test_unlit_distance_is_dark_and_gain_makes_noise():
    mild, dark = (picture(condition=Condition.NIGHT, severity=s) for s in (0.0, 1.0))
    assert np.median(light(dark)[:60]) < 0.004
    assert 5 < mild.mean() < 70

    def roughness(image):
        grey = image[20:60].astype(np.float32).mean(2)
        return float((grey - cv2.blur(grey, (5, 5))).std() / max(grey.mean(), 1))

    assert roughness(dark) > 2 * roughness(mild)


def test_noise_grows_with_gain():
    scene = read_scene(request(scene=street(640, 360)))
    flat = np.full((360, 640, 3), 0.05, np.float32)

    def variance(gain):
        around = flat[..., 0]
        pair = [seen_at_night(flat.copy(), around, scene, 0.5, gain, 0.0, rng(s)) for s in (1, 2)]
        return float(np.var(pair[0] - pair[1]) / 2)

    # Shot noise and read noise squared are both proportional to gain.
    assert variance(16.0) / variance(2.0) == pytest.approx(8, rel=0.05)


def test_lamps_are_mirrored_on_wet_ground_only():
    image, depth, k = street(wall_m=60.0)
    for column in (100, 220):
        image[40:70, column : column + 3] = 40  # posts, which carry lamps
    wet = picture(condition=Condition.NIGHT_RAIN, severity=0.3, scene=(image, depth, k))
    dry = picture(condition=Condition.NIGHT, severity=0.3, scene=(image, depth, k))

    def columns(picture):
        road = light(picture)[105:150]
        return float((road - cv2.blur(road, (41, 1))).mean(0).std())

    assert columns(wet) > 1.5 * columns(dry)


# The engine's contract


def test_the_engine_keeps_the_contract():
    settings = WeatherSettings()
    engine: Engine = settings.build()
    assert settings.conditions == SIMULATED_CONDITIONS
    assert engine.finish(engine.begin(engine.embed([]), 8)) == []
    requests = [request(condition=c) for c in settings.conditions]
    made = engine.finish(engine.begin(engine.embed(requests), 8))
    for variant, condition in zip(made, settings.conditions, strict=True):
        assert isinstance(variant, Variant)
        assert variant.image.dtype == np.uint8
        assert variant.image.shape == (180, 320, 3)
        assert variant.physical == physical_values(condition, 0.5)


def test_bytes_depend_on_the_request_alone():
    engine = WeatherEngine()
    requests = [request(condition=c, seed=i) for i, c in enumerate(SIMULATED_CONDITIONS)]
    together = [v.image.tobytes() for v in engine.generate(requests)]
    backwards = [v.image.tobytes() for v in engine.generate(requests[::-1])][::-1]
    alone = [WeatherEngine().generate([r])[0].image.tobytes() for r in requests]
    assert together == backwards == alone
    other = [v.image.tobytes() for v in engine.generate([replace(r, seed=99) for r in requests])]
    assert all(a != b for a, b in zip(together, other, strict=True))


def test_bytes_do_not_depend_on_opencv_threads():
    requests = [request(condition=c, scene=street(640, 360)) for c in SIMULATED_CONDITIONS]
    threads, made = cv2.getNumThreads(), []
    try:
        for count in (1, 4):
            cv2.setNumThreads(count)
            made.append([v.image.tobytes() for v in WeatherEngine().generate(requests)])
    finally:
        cv2.setNumThreads(threads)
    assert made[0] == made[1]


def test_engine_leaves_opencv_and_blas_one_thread_each():
    """In a process of its own, where numpy's BLAS starts with a thread per core."""
    code = (
        "import numpy, threadpoolctl, cv2\n"
        "numpy.ones((300, 300)) @ numpy.ones((300, 300))\n"
        "from nightrain.pipelines.engines.weather.engine import WeatherEngine\n"
        "WeatherEngine()\n"
        "found = [one['num_threads'] for one in threadpoolctl.threadpool_info()"
        " if one['user_api'] == 'blas']\n"
        "assert found and set(found) == {1} and cv2.getNumThreads() == 1, found\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_requests_are_read_only():
    image, depth, k = street()
    kept = image.copy(), depth.copy(), k.copy()
    for array in (image, depth, k):
        array.flags.writeable = False
    WeatherEngine().generate(
        [request(condition=c, scene=(image, depth, k)) for c in SIMULATED_CONDITIONS]
    )
    for array, before in zip((image, depth, k), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_strided_views_are_taken():
    image, depth, k = street()
    view = (image[:, ::-1][:, ::2], depth[:, ::-1][:, ::2], k)
    solid = (view[0].copy(), view[1].copy(), k)
    for condition in SIMULATED_CONDITIONS:
        made = picture(condition=condition, scene=view)
        np.testing.assert_array_equal(made, picture(condition=condition, scene=solid))


DEPTHS = {
    "all sky": lambda shape: np.full(shape, np.inf, np.float32),
    "no sky": lambda shape: np.full(shape, 12.0, np.float32),
    "touching": lambda shape: np.full(shape, 1e-3, np.float32),
    "far": lambda shape: np.full(shape, 1e30, np.float32),
    "random": lambda shape: rng().uniform(0.5, 90, shape).astype(np.float32),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 150), (97, 61), (121, 213)])
def test_any_size_and_depth(size, depth):
    image = rng(4).integers(0, 256, (*size, 3), np.uint8)
    scene = (image, DEPTHS[depth](size), intrinsics(size[1], size[0]))
    for condition in SIMULATED_CONDITIONS:
        for severity in (0.0, 1.0):
            made = picture(condition=condition, severity=severity, scene=scene)
            assert made.shape == image.shape
            assert made.dtype == np.uint8


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("condition", SIMULATED_CONDITIONS)
def test_black_and_white_pictures(condition, value):
    image, depth, k = street()
    made = picture(condition=condition, severity=0.7, scene=(np.full_like(image, value), depth, k))
    assert made.std() > 0


def bad(array, value):
    changed = array.copy()
    changed[3, 4] = value
    return changed


IMAGE, DEPTH, K = street()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": Condition.CLEAR}, "'clear'; expected one of night, rain"),
        ({"severity": 1.01}, r"severity is 1.01; expected a number in \[0, 1\]"),
        ({"severity": float("nan")}, "severity is nan"),
        ({"severity": -0.1}, "severity is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"image": IMAGE[..., 0]}, r"image is uint8 \(180, 320\); expected uint8"),
        ({"image": IMAGE.astype(np.float32)}, "image is float32"),
        ({"depth_m": DEPTH[:-1]}, r"depth_m is float32 \(179, 320\)"),
        ({"depth_m": DEPTH.astype(np.float64)}, "depth_m is float64"),
        ({"depth_m": bad(DEPTH, np.nan)}, "NaN, zero or negative in 1 of 57600"),
        ({"depth_m": bad(DEPTH, -np.inf)}, "NaN, zero or negative in 1 of"),
        ({"depth_m": bad(DEPTH, 0.0)}, "NaN, zero or negative in 1 of"),
        ({"intrinsics": np.eye(4)}, "intrinsics are"),
        ({"intrinsics": K * np.nan}, "intrinsics are"),
        ({"intrinsics": -K}, "positive focal lengths"),
    ],
)
def test_bad_requests_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        WeatherEngine().generate([request(), request(**changes)])


@pytest.mark.parametrize("condition", [Condition.RAIN, Condition.NIGHT])
def test_sunlit_shadows_on_the_road_fade(condition):
    """The left half of the road lies in shadow, with 0.3 of the light of the right half."""
    image, depth, k = street(640, 360, wall_m=80.0)
    road = np.s_[250:350, 200:320], np.s_[250:350, 320:440]
    shaded = image.copy()
    shaded[190:, :320] = linear_to_srgb(srgb_to_linear(image[190:, :320]) * np.float32(0.3))

    def left_over_right(scene):
        seen = light(picture(condition=condition, severity=0.3, scene=scene))
        return float(np.median(seen[road[0]]) / np.median(seen[road[1]]))

    even = left_over_right((image, depth, k))
    assert left_over_right((shaded, depth, k)) / even > 0.6


def test_a_rainy_picture_has_contrast():
    """A street with dark and bright things spans most of the range, drops and veil included."""
    image, depth, k = street(768, 432, wall_m=30.0, wall_height_m=9.0)
    image[150:215, 60:240], image[150:215, 500:640] = 20, 235  # a gate, and a white house
    spans = []
    for severity in (0.3, 0.6, 0.9):
        luma = picture(condition=Condition.RAIN, severity=severity, scene=(image, depth, k)) @ [
            0.299, 0.587, 0.114]  # fmt: skip
        spans.append(np.subtract(*np.percentile(luma, [95, 5])))
    assert spans[0] > 100 and min(spans) > 75
