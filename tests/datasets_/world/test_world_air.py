"""What moves, falls and hangs in the air: motion blur, streaks, drops on the lens, LiDAR echoes."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.render import precipitation, spray
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.scene.weather import draw_weather
from nightrain.datasets.world.sensors import lens_drops as lens
from nightrain.datasets.world.sensors import motion_blur, scatter
from nightrain.datasets.world.sensors.camera import View, render
from nightrain.datasets.world.sensors.flow import forward_flow
from nightrain.datasets.world.sensors.lidar import sweep
from nightrain.datasets.world.sensors.rig import CAMERAS, T_ego_lidar
from nightrain.datasets.world.shapes.lamps import as_arrays
from nightrain.datasets.world.shapes.raycast import Hits

SIZE = (112, 64)


@functools.cache
def _scene(condition: Condition, seed: int = 8) -> Scene:
    return draw_scene(np.random.default_rng(seed), 3.0, condition)


def _view(scene: Scene, t_s: float, channel: str = "CAM_FRONT_LEFT") -> View:
    mount = CAMERAS[channel]
    T = scene.ego.pose(t_s) @ mount.T_ego_camera()
    return View(T_world_camera=T, intrinsics=mount.intrinsics(SIZE), size=SIZE)


def test_motion_while_the_shutter_is_open_is_that_of_the_flow() -> None:
    scene, dt = _scene(Condition.CLEAR), 0.05
    here, there = (_view(scene, t) for t in (1.0, 1.0 + dt))
    picture = render(scene, 1.0, here)
    flow = forward_flow(scene, picture, here, 1.0, scene.at(1.0 + dt), there)
    hits = Hits(picture.t, picture.row, np.zeros((3, *picture.t.shape)))
    motion = motion_blur.image_motion(scene.at(1.0), here, hits, dt)
    seen = (flow.fate == 1) & (picture.row >= 0)
    gap = np.abs(motion - flow.motion_px).max(0)[seen]
    assert np.median(np.abs(flow.motion_px).max(0)[seen]) > 1.0
    assert np.median(gap) < 0.08 * np.median(np.abs(flow.motion_px).max(0)[seen])


def test_a_line_is_smeared_over_the_length_of_its_motion() -> None:
    picture = np.zeros((40, 80, 3), np.float32)
    picture[:, 40] = 1.0
    motion = np.zeros((2, 40, 80), np.float32)
    motion[0] = 9.0
    column = motion_blur.blur(picture, motion)[20, :, 0]
    assert column.sum() == pytest.approx(1.0, rel=1e-3)
    lit = np.flatnonzero(column > 0.3 / 9)
    assert lit[-1] - lit[0] + 1 == pytest.approx(9, abs=1)
    assert (column * np.arange(80)).sum() == pytest.approx(40, abs=0.05)


def test_the_same_shutter_blurs_more_at_night() -> None:
    day, night = (
        render(s, 1.0, _view(s, 1.0)) for s in map(_scene, (Condition.CLEAR, Condition.NIGHT))
    )
    assert night.exposure.time_s > 20 * day.exposure.time_s


def test_drops_are_as_many_as_their_sizes_say() -> None:
    """The number above a size is the integral of Marshall and Palmer's distribution."""
    weather = replace(draw_weather(np.random.default_rng(0), Condition.RAIN), rain_mm_per_h=10.0)
    slope, number = precipitation.number_per_m3(weather, 0.9)
    sizes_mm = np.arange(0.9, 12, 0.001)
    expected = (8000 * np.exp(-4.1 * 10**-0.21 * sizes_mm)).sum() * 0.001
    assert slope == pytest.approx(4.1 * 10**-0.21)
    assert number == pytest.approx(expected, rel=3e-3)


def _one_drop(velocity: tuple[float, float, float]) -> precipitation.Particles:
    return precipitation.Particles(
        place_m=np.array([[0.0], [0.0], [2.0]]),
        velocity_mps=np.array(velocity)[:, None],
        diameter_m=np.array([0.008]),
    )


def _streak(time_s: float, depth_m: float) -> np.ndarray:
    """How much one falling drop at 2 m changes a black picture."""
    weather = replace(draw_weather(np.random.default_rng(0), Condition.RAIN), rain_mm_per_h=10.0)
    K = np.array([[200.0, 0, 50.0], [0, 200.0, 40.0], [0, 0, 1]])
    view = View(T_world_camera=np.eye(4), intrinsics=K, size=(100, 80))
    picture = np.zeros((80, 100, 3), np.float32)
    depth = np.full((80, 100), depth_m)
    drop = _one_drop((0.0, 8.0, 0.0))
    precipitation.fall_through(picture, depth, drop, weather, as_arrays([]), view, time_s)
    return picture[..., 1]


def test_a_streak_is_as_long_as_the_drop_falls_while_the_shutter_is_open() -> None:
    streak = _streak(0.02, 50.0)
    rows = np.flatnonzero(streak.max(1) > 0.3 * streak.max())
    assert rows[-1] - rows[0] + 1 == pytest.approx(200 * 8 * 0.02 / 2.0, abs=3)
    assert (streak.sum(1) * np.arange(80)).sum() / streak.sum() == pytest.approx(40, abs=0.3)


def test_a_longer_exposure_thins_the_streak_and_keeps_its_light() -> None:
    short, long = _streak(0.004, 50.0), _streak(0.02, 50.0)
    assert long.sum() == pytest.approx(short.sum(), rel=0.05)
    assert long.max() < 0.6 * short.max()


def test_what_stands_nearer_hides_the_drop() -> None:
    assert _streak(0.02, 1.5).max() == 0


def test_drops_stay_on_the_lens_and_go() -> None:
    weather = replace(draw_weather(np.random.default_rng(1), Condition.RAIN), lens_drops=30.0)
    now, soon, later = (lens.on_lens(weather, 7, t, 0.57) for t in (5.0, 5.05, 25.0))
    np.testing.assert_allclose(now.radius, soon.radius, atol=0.06)
    stayed = np.isclose(now.x, soon.x).mean()
    assert stayed > 0.85 and np.isclose(now.x, later.x).mean() < 0.2
    other = lens.on_lens(weather, 8, 5.0, 0.57)
    assert not np.isin(other.x, now.x).any()


def _one_lens_drop(radius: float) -> lens.LensDrops:
    middle = np.array([0.5])
    return lens.LensDrops(
        x=middle,
        y=middle * 128 / 224,
        radius=np.array([radius]),
        squeeze=np.ones(1),
        lobe=np.zeros(1),
    )


def test_a_drop_shows_the_world_upside_down() -> None:
    picture = np.zeros((128, 224, 3), np.float32)
    picture[:64] = 1.0  # bright above, dark below
    seen = lens.seen_through(picture, _one_lens_drop(0.12))[..., 0]
    assert seen[64 - 16, 112] < 0.5 < seen[64 + 16, 112]
    np.testing.assert_allclose(seen[:, :20], picture[:, :20, 0], atol=0.01)


def test_a_drop_hides_the_contrast_of_what_is_behind_it() -> None:
    stripes = np.repeat(np.arange(224)[None] // 4 % 2, 128, 0).astype(np.float32)
    picture = np.stack([stripes] * 3, -1)
    seen = lens.seen_through(picture, _one_lens_drop(0.12))[..., 0]
    behind, beside = seen[58:70, 104:120], seen[58:70, 4:20]
    assert behind.std() < 0.1 * beside.std()
    assert behind.mean() == pytest.approx(0.5, abs=0.1)


def test_the_edge_of_a_drop_is_as_soft_as_the_aperture() -> None:
    """A drop far smaller than the aperture never hides a pixel; light is kept, but for 4 %."""
    white = np.zeros((128, 224, 3), np.float32)
    white[:, 112:] = 1.0
    tiny = lens.seen_through(white, _one_lens_drop(0.012))[..., 0]
    assert 0.9 < tiny[64, 116] < 1.0 and 0.0 < tiny[64, 106] < 0.1
    even = lens.seen_through(np.ones_like(white), _one_lens_drop(0.12))
    assert even.min() == pytest.approx(0.96, abs=5e-3) and even.max() == pytest.approx(1.0)


def test_film_on_the_lens_lowers_the_contrast_and_keeps_the_light() -> None:
    stripes = np.repeat(np.arange(224)[None] // 4 % 2, 128, 0).astype(np.float32)
    picture = np.stack([stripes] * 3, -1)
    rain = draw_weather(np.random.default_rng(1), Condition.RAIN)
    seen = [lens.behind_film(picture, replace(rain, lens_film=f), 7) for f in (0.0, 0.2, 0.4)]
    spread = [float(s.std()) for s in seen]
    np.testing.assert_array_equal(seen[0], picture)
    assert spread[2] < 0.9 * spread[1] < 0.9 * spread[0]
    assert seen[2].mean() == pytest.approx(picture.mean(), rel=0.02)


def test_visibility_falls_with_the_rain() -> None:
    """Never above that of Marshall and Palmer's drops alone; 0.5 to 1.3 km in heavy rain."""
    drawn = [draw_weather(np.random.default_rng(k), Condition.RAIN) for k in range(300)]
    rate, seen_m = (
        np.array([getattr(w, n) for w in drawn]) for n in ("rain_mm_per_h", "visibility_m")
    )
    falling = rate > 0
    assert 0.85 < falling.mean() < 0.95 and 2 <= rate[falling].min() < rate.max() <= 30
    assert (seen_m <= np.log(20) / (3.65e-4 * np.maximum(rate, 1e-9) ** 0.63)).all()
    heavy, light = seen_m[rate > 20], seen_m[falling & (rate < 4)]
    assert heavy.min() > 400 and heavy.max() < 1200 < np.median(light) < 5000
    drops = np.array([w.lens_drops for w in drawn])
    assert (drops >= 5).all() and drops[rate > 20].mean() > drops[falling & (rate < 4)].mean()


def test_rain_changes_nothing_in_the_depth() -> None:
    dry, wet = (_scene(c) for c in (Condition.CLEAR, Condition.RAIN))
    clear, rain = (render(s, 1.0, _view(s, 1.0)) for s in (dry, wet))
    np.testing.assert_array_equal(clear.depth_m, rain.depth_m)
    np.testing.assert_array_equal(clear.row, rain.row)
    assert (clear.image != rain.image).mean() > 0.9


def _trail(scene: Scene, height_m: float, at_m: tuple[float, float, float]) -> float:
    """Optical thickness of the spray of one moving vehicle, across a point behind or ahead."""
    actor = next(a for a in scene.actors if _speed(a, 1.0) > 4 and a.size_m[0] > 3)
    actor = replace(actor, size_m=(*actor.size_m[:2], height_m))
    T = actor.motion.pose(1.0)
    place, side = (T @ [*at_m, 1])[:3], T[:3, 1:2]
    moment = replace(scene, actors=(actor,)).at(1.0)
    return float(spray.thickness(moment, place - 10 * side[:, 0], side, np.array([50.0]))[0])


def test_spray_hangs_behind_what_drives_fast_on_a_wet_road() -> None:
    scene = _scene(Condition.RAIN, seed=3)
    assert _trail(scene, 1.5, (-4.5, 0, 0.4)) > 0.05
    assert _trail(scene, 1.5, (9.0, 0, 0.4)) == 0


def test_spray_thickens_with_the_rain_and_rises_behind_lorries() -> None:
    scene = _scene(Condition.RAIN, seed=3)
    light, heavy = (
        scene.under(replace(scene.weather, rain_mm_per_h=r, wetness=1.0)) for r in (2.0, 20.0)
    )
    behind, above = (-4.5, 0, 0.4), (-4.5, 0, 1.4)
    assert _trail(heavy, 1.5, behind) > 1.5 * _trail(light, 1.5, behind)
    assert _trail(heavy, 3.5, above) > 0.02 > _trail(heavy, 1.5, above)


def _speed(actor: object, t_s: float) -> float:
    ends = [actor.motion.pose(t_s + dt)[:3, 3] for dt in (0.0, 0.1)]  # type: ignore[attr-defined]
    return float(np.linalg.norm(ends[1] - ends[0]) / 0.1)


def _sweep(scene: Scene, **weather: float) -> np.ndarray:
    changed = replace(scene, weather=replace(scene.weather, **weather))
    return sweep(changed, 1.0, np.random.default_rng(5), num_azimuths=360).points


def test_lidar_loses_more_the_harder_it_rains() -> None:
    scene = _scene(Condition.RAIN)
    numbers = [
        int(
            (
                np.linalg.norm(_sweep(scene, rain_mm_per_h=r, visibility_m=1e5)[:, :3], axis=1) > 25
            ).sum()
        )
        for r in (1.0, 20.0, 80.0)
    ]
    assert numbers[0] > numbers[1] > numbers[2] > 0
    assert numbers[2] < 0.92 * numbers[0]


def test_a_wet_road_answers_less_than_a_dry_one() -> None:
    scene = _scene(Condition.RAIN)
    dry, wet = (
        _road(_sweep(scene, wetness=w, puddles=0.2 * w, rain_mm_per_h=0.0)) for w in (0.0, 1.0)
    )
    assert wet < 0.65 * dry


def _road(points: np.ndarray) -> int:
    """Returns near the height of the ground under the LiDAR."""
    return int((np.abs(points[:, 2] + T_ego_lidar()[2, 3]) < 0.1).sum())


def test_false_echoes_lie_near_and_hide_what_is_behind() -> None:
    weather = draw_weather(np.random.default_rng(2), Condition.FOG)
    thick = replace(weather, visibility_m=60.0)
    beam, range_m = scatter.false_ranges(thick, np.random.default_rng(0), 30_000)
    assert len(np.unique(beam)) == len(beam) > 1000
    assert np.quantile(range_m, 0.9) < 10.0
    thin, _ = scatter.false_ranges(
        replace(weather, visibility_m=300.0), np.random.default_rng(0), 30_000
    )
    assert len(thin) < 0.5 * len(beam)


def test_a_beam_has_one_echo() -> None:
    points = _sweep(_scene(Condition.FOG), visibility_m=50.0)
    azimuth = np.rint((np.arctan2(points[:, 1], points[:, 0]) + np.pi) / (2 * np.pi) * 360 - 0.5)
    beams = azimuth * 32 + points[:, 4]
    assert len(np.unique(beams)) == len(points)


def test_clear_air_loses_nothing_and_adds_nothing() -> None:
    weather = draw_weather(np.random.default_rng(2), Condition.CLEAR)
    assert scatter.extinction_per_m(weather) == 0
    share = scatter.found_share(weather, np.array([0.1]), np.array([0.5]), np.array([60.0]))
    assert share.tolist() == [1.0]


def test_a_sweep_follows_its_generator_alone() -> None:
    scene = _scene(Condition.SNOW)
    np.testing.assert_array_equal(_sweep(scene), _sweep(scene))
