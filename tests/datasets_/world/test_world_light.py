"""Light and weather of the built-in world against what optics says of simple arrangements."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.render import atmosphere, lamp_discs, sky
from nightrain.datasets.world.render.lamplight import Gloss, illuminate
from nightrain.datasets.world.render.light import fresnel
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.scene.weather import Sky, draw_weather
from nightrain.datasets.world.sensors import lens_glare as glare
from nightrain.datasets.world.sensors.camera import Picture, View, before_the_lens, render
from nightrain.datasets.world.sensors.exposure import (
    ELECTRONS_PER_CD_M2_S,
    FULL_WELL_E,
    MAX_GAIN,
    MAX_TIME_S,
    Exposure,
    meter,
    noise_e,
    sense,
)
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.datasets.world.shapes.lamps import Lamp, as_arrays
from nightrain.datasets.world.shapes.points import Points, surface_points
from nightrain.datasets.world.shapes.raycast import Caster, Geometry
from nightrain.datasets.world.shapes.solids import Shape, Solid, Solids, Surface, pack
from nightrain.datasets.world.surfaces import materials
from nightrain.datasets.world.surfaces import wet_ground as wet
from nightrain.datasets.world.surfaces.look import Look

SIZE = (112, 64)
OMNI = Lamp(place_m=(0.0, 0.0, 4.0), intensity_cd=1600.0, colour=(1.0, 1.0, 1.0), kind="window")
FLOOR = Solid(
    shape=Shape.BLOCK,
    surface=Surface.CONCRETE,
    centre_m=(0.0, 0.0, -0.5),
    half_m=(60.0, 60.0, 0.5),
)


def _lit(lamps: list[Lamp], x_m: np.ndarray, solids: list[Solid]) -> np.ndarray:
    """Illuminance (N,) of points on a floor at (x, 0)."""
    packed = pack([FLOOR, *solids])
    points = _on_floor(packed, x_m)
    row = np.zeros(len(x_m), np.int64)
    return illuminate(as_arrays(lamps), Caster([Geometry(packed)]), points, row)[0][0]


def _on_floor(packed: Solids, x_m: np.ndarray) -> Points:
    world = np.stack([x_m, 0 * x_m, 0 * x_m])
    up = np.repeat([[0.0], [0.0], [1.0]], len(x_m), 1)
    return surface_points(packed, np.zeros(len(x_m), int), world, up, -up, 0 * x_m + 0.01)


@pytest.mark.parametrize("x", [0.0, 3.0, 12.0])
def test_a_lamp_lights_a_plane_by_inverse_square_and_cosine(x: float) -> None:
    found = _lit([OMNI], np.array([x]), [])
    assert found[0] == pytest.approx(1600.0 * 4.0 / (x * x + 16.0) ** 1.5, rel=1e-4)


def test_a_lamp_has_half_of_its_strength_at_its_half_angle() -> None:
    spot = replace(OMNI, half_angle_deg=30.0)
    lamps = as_arrays([spot])
    angle = np.radians([0.0, 30.0])
    away = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)])
    np.testing.assert_allclose(
        lamps.intensity_towards(np.zeros(2, int), away), [1600, 800], rtol=1e-5
    )


def test_a_dipped_headlight_lights_the_road_and_not_the_sky() -> None:
    lamps = as_arrays([replace(OMNI, axis=(1.0, 0.0, 0.0), half_angle_deg=14.0, kind="head")])
    slope = np.radians([-1.0, 2.0])
    road, above = lamps.intensity_towards(
        np.zeros(2, int), np.stack([np.cos(slope), 0 * slope, np.sin(slope)])
    )
    assert road > 0.8 * 1600 and above < 0.05 * 1600


def test_many_lamps_add_up_near_and_far() -> None:
    """Strong lamps are worked out for each point, weak ones for each block: the sum is whole."""
    x = np.linspace(-2, 2, 40)
    lamps = [replace(OMNI, place_m=(6.0 * k, 3.0, 4.0)) for k in range(-8, 9)]
    each = sum(1600 * 4.0 / ((x - lamp.place_m[0]) ** 2 + 9.0 + 16.0) ** 1.5 for lamp in lamps)
    np.testing.assert_allclose(_lit(lamps, x, []), each, rtol=0.02)


def test_a_wall_throws_the_shadow_of_a_lamp() -> None:
    # A wall at x = 4, 2 m high, before a lamp at 4 m: its shadow reaches from 4 to 8.
    wall = Solid(
        shape=Shape.BLOCK,
        surface=Surface.CONCRETE,
        centre_m=(4.0, 0.0, 1.0),
        half_m=(0.01, 5.0, 1.0),
    )
    x = np.array([3.5, 4.5, 7.8, 8.2])
    dark = _lit([OMNI], x, [wall]) == 0
    assert dark.tolist() == [False, True, True, False]


def test_a_lamp_is_mirrored_where_the_angles_are_equal() -> None:
    """On smooth wet ground the highlight peaks at the mirror point, h1 / (h1 + h2) of the way."""
    packed = pack([FLOOR])
    x = np.linspace(2.0, 28.0, 2001)
    points = _on_floor(packed, x)
    eye = np.array([[30.0], [0.0], [1.5]])
    ray = points.world_m - eye
    points = replace(points, ray=(ray / np.linalg.norm(ray, axis=0)).astype(np.float32))
    gloss = Gloss(share=np.full(len(x), 0.02, np.float32), roughness=np.full(len(x), 0.1, "f4"))
    far = replace(OMNI, radius_m=0.02)
    row = np.zeros(len(x), np.int64)
    _, shine = illuminate(as_arrays([far]), Caster([Geometry(packed)]), points, row, gloss)
    assert x[shine[0].argmax()] == pytest.approx(30.0 * 4.0 / (4.0 + 1.5), abs=0.3)
    assert shine[0].max() > 30 * np.median(shine[0])


def test_a_lamps_disc_gives_the_camera_its_illuminance() -> None:
    """Whatever its size in pixels, the disc's luminance times solid angle is I / d^2."""
    for distance, f_px in ((10.0, 100.0), (80.0, 60.0)):
        picture = np.zeros((64, 112, 3), np.float32)
        lamps = as_arrays([replace(OMNI, place_m=(distance, 0.0, 0.0))])
        weather = replace(draw_weather(np.random.default_rng(0), Condition.NIGHT), visibility_m=1e9)
        spot, path = np.array([[40.3], [30.8]]), np.array([[6.0], [0.0]])
        lamp_discs.draw(picture, lamps, weather, Caster([]), np.zeros(3), spot, path, f_px)
        lux = picture[..., 0].sum() / f_px**2
        assert lux == pytest.approx(1600.0 / distance**2, rel=1e-3)
        columns = picture[..., 0].sum(0)
        middle = (columns * np.arange(112)).sum() / columns.sum()
        assert middle == pytest.approx(40.3, abs=0.05)


def test_five_percent_of_a_contrast_is_left_at_the_visibility() -> None:
    weather = draw_weather(np.random.default_rng(0), Condition.FOG)
    far = np.array([0.0, weather.visibility_m])
    np.testing.assert_allclose(atmosphere.transmission(weather, far), [1.0, 0.05], rtol=1e-5)
    black, white = (
        atmosphere.through_air(np.full((3, 1), v, np.float32), weather, far[1:]) for v in (0, 1e4)
    )
    np.testing.assert_allclose(white - black, 500.0, rtol=1e-2)


def test_the_overcast_sky_gives_the_illuminance_it_has() -> None:
    weather = replace(draw_weather(np.random.default_rng(0), Condition.RAIN), sky_lux=5000.0)
    height = np.radians(np.arange(0.5, 90, 1.0))
    ray = np.stack([np.cos(height), 0 * height, np.sin(height)]).astype(np.float32)
    green = sky.radiance(ray, weather)[1]
    lux = (green * np.sin(height) * np.cos(height)).sum() * np.radians(1.0) * 2 * np.pi
    assert lux == pytest.approx(5000.0, rel=0.01)


def test_the_glare_keeps_the_light_and_spreads_it() -> None:
    picture = np.zeros((256, 448, 3), np.float32)
    picture[128, 224] = 1e6
    found = glare.bloom(picture, 0.1)
    assert found.sum() == pytest.approx(picture.sum(), rel=0.05)
    assert found[128, 224, 0] > 9e5
    ring = [found[128, 224 + r, 0] for r in (3, 8, 20, 60)]
    assert all(a > 2 * b > 0 for a, b in pairwise(ring))


@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_noise_has_the_variance_of_photons_and_of_the_gain(gain: float) -> None:
    exposure = Exposure(time_s=0.01, gain=gain)
    picture = np.full((200, 400, 3), 0.3 * exposure.white_cd_m2, np.float32)
    signal = sense(picture, exposure, np.random.default_rng(1))
    electrons = 0.3 * FULL_WELL_E / gain
    expected = noise_e(np.full(3, electrons), gain, 400) * gain / FULL_WELL_E
    np.testing.assert_allclose(signal.std((0, 1)), expected, rtol=0.03)
    np.testing.assert_allclose(signal.mean((0, 1)), 0.3, rtol=0.01)


def test_noise_grows_with_the_gain() -> None:
    at = [noise_e(np.full(3, 0.3 * FULL_WELL_E / g), g, 448) * g for g in (1.0, 4.0, 10.0)]
    assert (at[0] < at[1]).all() and (at[1] < at[2]).all()


def test_the_meter_takes_time_before_gain_and_limits_both() -> None:
    def flat(luminance: float) -> Exposure:
        return meter(np.full((60, 100, 3), luminance, np.float32))

    day, dusk, dark = flat(3000.0), flat(3.0), flat(0.01)
    assert day.gain == 1 and day.time_s < 0.002
    assert dusk.time_s == pytest.approx(MAX_TIME_S) and 1 <= dusk.gain < MAX_GAIN
    assert dark.time_s == MAX_TIME_S and dark.gain == MAX_GAIN
    assert day.white_cd_m2 == pytest.approx(FULL_WELL_E / (ELECTRONS_PER_CD_M2_S * day.time_s))


def test_every_condition_names_itself_as_the_readers_expect() -> None:
    marks = ("night", "rain", "snow", "fog", "dusk")
    for condition in Condition:
        for seed in range(20):
            words = draw_weather(np.random.default_rng(seed), condition).words.lower()
            expected = set() if condition is Condition.CLEAR else set(condition.split("-"))
            assert {m for m in marks if m in words} == expected


def test_clear_skies_differ() -> None:
    drawn = [draw_weather(np.random.default_rng(k), Condition.CLEAR).sky for k in range(40)]
    assert {Sky.SUNNY, Sky.HAZY, Sky.BROKEN, Sky.OVERCAST} == set(drawn)


def _scene(condition: Condition, seed: int = 8) -> Scene:
    return draw_scene(np.random.default_rng(seed), 3.0, condition)


def _view(scene: Scene, t_s: float = 1.0) -> View:
    mount = CAMERAS["CAM_FRONT"]
    T = scene.ego.pose(t_s) @ mount.T_ego_camera()
    return View(T_world_camera=T, intrinsics=mount.intrinsics(SIZE), size=SIZE)


def _picture(condition: Condition, noise_seed: int = 0) -> Picture:
    scene = _scene(condition)
    return render(scene, 1.0, _view(scene), noise_seed=noise_seed)


def test_conditions_differ_in_light_by_their_order() -> None:
    mean = {}
    for condition in (Condition.CLEAR, Condition.RAIN, Condition.DUSK, Condition.NIGHT):
        scene = _scene(condition)
        mean[condition] = float(np.median(before_the_lens(scene, 1.0, _view(scene)).radiance))
    assert mean["clear"] > mean["rain"] > 20 * mean["dusk"] > 20 * mean["night"] > 0


def test_another_condition_shows_the_same_place_and_traffic() -> None:
    clear, night = _picture(Condition.CLEAR), _picture(Condition.NIGHT_RAIN)
    np.testing.assert_array_equal(clear.row, night.row)
    np.testing.assert_array_equal(clear.t, night.t)


def test_a_picture_is_the_same_bytes_twice_and_its_noise_follows_its_seed() -> None:
    a, b, other = (_picture(Condition.NIGHT_RAIN, s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.image, b.image)
    assert (a.image != other.image).mean() > 0.3
    np.testing.assert_array_equal(a.t, other.t)


def _mirror_scene(monkeypatch: pytest.MonkeyPatch) -> tuple[Scene, View]:
    """A black wet floor with a bright red board standing on it, seen from 1.5 m above."""
    board = Solid(
        shape=Shape.BLOCK,
        surface=Surface.CONCRETE,
        centre_m=(15.0, 0.0, 2.0),
        half_m=(0.1, 2.0, 0.5),
    )
    floor = replace(FLOOR, surface=Surface.YARD)

    def look(points: Points, surface: np.ndarray, street: object) -> Look:
        red = (surface == Surface.CONCRETE).astype(np.float32)
        albedo = np.stack([0.9 * red, 0 * red, 0 * red])
        return Look(albedo, 0 * red, None)

    monkeypatch.setattr(materials, "look", look)
    rain = draw_weather(np.random.default_rng(3), Condition.RAIN)
    flooded = replace(rain, wetness=1.0, puddles=0.999, visibility_m=1e6)
    base = _scene(Condition.RAIN)
    scene = replace(base, static=pack([floor, board]), actors=(), lamps=(), weather=flooded)
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[:3, 3] = (0, 0, 1.5)
    K = np.array([[100.0, 0, 55.5], [0, 100.0, 20.0], [0, 0, 1]])
    return scene, View(T_world_camera=T, intrinsics=K, size=SIZE)


def test_a_board_stands_mirrored_in_a_flooded_street(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, view = _mirror_scene(monkeypatch)
    radiance = before_the_lens(scene, 0.0, view).radiance
    red = radiance[..., 0] - radiance[..., 1]
    # The board's middle is at 2 m; its image lies as far below the floor.
    column = np.maximum(red[26:, 55], 0)
    where = 26 + (column * np.arange(len(column))).sum() / column.sum()
    assert where == pytest.approx(20 + 100 * 3.5 / 14.9, abs=1.0)
    assert red[26:, 55].max() > 10 * max(red[26:, 10].max(), 1.0)


def test_a_dry_street_mirrors_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, view = _mirror_scene(monkeypatch)
    dry = replace(scene, weather=replace(scene.weather, wetness=0.0, puddles=0.0))
    radiance = before_the_lens(dry, 0.0, view).radiance
    assert np.abs(radiance[30:, 55, 0] - radiance[30:, 55, 1]).max() < 1.0


def test_water_darkens_the_ground() -> None:
    """As Lekner and Dorf have it: dark stone loses about half, white hardly anything."""
    full = wet.Water(film=np.ones(2, np.float32), puddle=np.zeros(2, np.float32))
    dry = np.array([0.1, 0.95], np.float32)
    found = wet.darkened(np.stack([dry] * 3), full)[0] / dry
    assert 0.5 < found[0] < 0.6 and 0.9 < found[1] < 1


def test_snow_whitens_the_ground() -> None:
    def ground(cover: float) -> float:
        base = _scene(Condition.SNOW)
        calm = replace(base.weather, snow_cover=cover, wetness=0.0, visibility_m=1e6)
        scene = replace(base, weather=calm)
        seen = before_the_lens(scene, 1.0, _view(scene))
        road = scene.at(1.0).solids.surface[seen.hits.row[-12:]] == Surface.STREET
        return float(np.median(seen.radiance[-12:][road]))

    assert ground(1.0) > 1.5 * ground(0.0)


def test_rain_fills_the_ground_with_a_smoother_mirror() -> None:
    """A film that is rained on covers the stones; it mirrors more, the flatter the view."""
    full = {"film": np.ones(1, np.float32), "puddle": np.zeros(1, np.float32)}
    drained, filled = (wet.Water(**full, filled=f) for f in (0.0, 1.0))
    assert filled.cover > 1.5 * drained.cover and filled.roughness < 0.6 * drained.roughness
    steep, flat = (fresnel(wet.WATER_MIRROR, np.array([c])) for c in (0.3, 0.05))
    assert flat > 3 * steep


def test_a_board_stands_mirrored_in_the_film_of_a_street_in_rain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, view = _mirror_scene(monkeypatch)

    def red(rain_mm_per_h: float) -> float:
        film = replace(scene.weather, puddles=0.0, rain_mm_per_h=rain_mm_per_h)
        radiance = before_the_lens(replace(scene, weather=film), 0.0, view).radiance
        return float((radiance[30:, 45:66, 0] - radiance[30:, 45:66, 1]).mean())

    assert red(8.0) > 1.5 * red(0.0) > 0
