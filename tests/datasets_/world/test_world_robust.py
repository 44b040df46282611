"""Scenes that once could not be rendered, and a few of every weather at awkward sizes.

NumPy's warnings are errors here: one pixel that is not a number spoils the whole image.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.folder import Folder
from nightrain.datasets.world.export.plan import Recording, ScenePlan, SceneSpec
from nightrain.datasets.world.export.recorder import write_scene
from nightrain.datasets.world.render import mirror
from nightrain.datasets.world.render.light import Lighting
from nightrain.datasets.world.render.rays import trace
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.sensors import schedule
from nightrain.datasets.world.sensors.camera import View, render
from nightrain.datasets.world.sensors.rig import CAMERAS

CONDITIONS = list(Condition)
SIZES = ((48, 27), (17, 16), (34, 18), (50, 22), (16, 46), (33, 17), (66, 38))


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_pixel_of_sky_between_wet_ground_mirrors_nothing() -> None:
    """On a crest, rays to either side of a pixel's centre meet wet ground, its own the sky."""
    place, shot, size = 28, 2, (256, 144)
    plan = ScenePlan(
        seed=5,
        spec=SceneSpec(place=place, condition=Condition.RAIN),
        recording=Recording(num_keyframes=2, size=size),
    )
    scene = draw_scene(plan.rng("layout"), plan.duration_s, plan.spec.condition)
    shots = list(schedule.shots(place, "CAM_FRONT", 2, "neighbours"))
    t_s = schedule.seconds(place, shots[shot].timestamp_us)
    mount = CAMERAS["CAM_FRONT"]
    pose = scene.ego.pose(t_s) @ mount.T_ego_camera()
    view = View(T_world_camera=pose, intrinsics=mount.intrinsics(size), size=size)
    assert render(scene, t_s, view).image.std() > 10


def test_no_pixel_of_sky_gets_a_mirrored_ray() -> None:
    scene = draw_scene(np.random.default_rng(3), 1.0, Condition.RAIN)
    mount, size = CAMERAS["CAM_FRONT"], (32, 18)
    pose = scene.ego.pose(0.0) @ mount.T_ego_camera()
    view = View(T_world_camera=pose, intrinsics=mount.intrinsics(size), size=size)
    lighting = Lighting(scene.at(0.0), view.eye_m)
    v, u = np.mgrid[0.0 : size[1], 0.0 : size[0]]
    directions = view.directions(u, v)
    hits = lighting.moment.caster.cast(view.eye_m, directions)
    hits.t[-2:], hits.row[-2:], hits.normal[:, -2:] = np.inf, -1, 0.0  # the lowest rows see sky
    traced = trace(lighting, view.eye_m, directions.reshape(3, -1), hits, view.pixel_rad)
    traced.wet_mirror[:] = 0.5  # as the means over the rays of outlines may be
    assert np.isfinite(mirror.reflected(lighting, view, directions, hits, traced)).all()


@pytest.mark.parametrize("number", range(len(CONDITIONS)))
def test_every_weather_at_an_awkward_size(tmp_path: Path, number: int) -> None:
    plan = ScenePlan(
        seed=70 + number,
        spec=SceneSpec(place=number, condition=CONDITIONS[number]),
        recording=Recording(
            num_keyframes=1, size=SIZES[number], cameras=(sorted(CAMERAS)[number % 6],)
        ),
    )
    write_scene(Folder(tmp_path), plan, lambda: None)
    assert len(list(tmp_path.rglob("*.jpg"))) == 3


@pytest.mark.parametrize("size", [(34, 18), (18, 34), (16, 16), (19, 21)])
def test_lamps_have_halos_at_any_size(size: tuple[int, int]) -> None:
    scene = draw_scene(np.random.default_rng(1), 1.0, Condition.NIGHT_RAIN)
    mount = CAMERAS["CAM_FRONT"]
    pose = scene.ego.pose(0.0) @ mount.T_ego_camera()
    view = View(T_world_camera=pose, intrinsics=mount.intrinsics(size), size=size)
    assert render(scene, 0.0, view).image.shape == (size[1], size[0], 3)
