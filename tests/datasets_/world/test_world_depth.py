"""Exact depth of known bodies; camera, LiDAR and poses of a rendered world agree."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from pyquaternion import Quaternion

from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.world.export.writer import VERSION
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.sensors.camera import Picture, View, render
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.datasets.world.shapes.mesh import grid
from nightrain.datasets.world.shapes.raycast import Caster, Geometry, Hits
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface, pack

SIZE = (112, 64)  # of the fixture two_scenes


@pytest.fixture(scope="module")
def world(two_scenes: Path) -> Path:
    return two_scenes


@pytest.fixture(scope="module")
def nusc(world: Path) -> NuScenes:
    return NuScenes(version=VERSION, dataroot=str(world), verbose=False)


# --- exact depth ---

LEVEL = View(  # at the origin of the world, 1.5 m up, looking along +x
    T_world_camera=np.array(
        [[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64
    ),
    intrinsics=np.array([[80.0, 0, 50], [0, 80, 30], [0, 0, 1]]),
    size=(101, 61),
)
PLANE = Solid(  # z = 0, wide enough for every ray below the horizon
    shape=Shape.MESH,
    surface=Surface.STREET,
    mesh=grid(np.array([[(x, y, 0.0) for y in (-400.0, 400.0)] for x in (-400.0, 400.0)])),
)


def _cast(solids: list[Solid], u: np.ndarray, v: np.ndarray) -> Hits:
    caster = Caster([Geometry(pack([PLANE])), Geometry(pack(solids))])
    return caster.cast(LEVEL.T_world_camera[:3, 3], LEVEL.directions(u, v))


def _depth_m(*solids: Solid) -> np.ndarray:
    v, u = np.mgrid[0.0 : LEVEL.size[1], 0.0 : LEVEL.size[0]]
    return _cast(list(solids), u, v).t


def _solid(shape: Shape, **fields: object) -> Solid:
    return Solid(shape=shape, surface=Surface.METAL, **fields)  # type: ignore[arg-type]


def test_depth_of_the_ground_is_that_of_a_plane() -> None:
    depth_m = _depth_m()
    v = np.arange(31, 61)
    assert np.allclose(depth_m[31:, 7], 1.5 * 80 / (v - 30), rtol=1e-12)
    assert np.isinf(depth_m[:31]).all()


def test_depth_of_a_box_is_that_of_its_front() -> None:
    depth_m = _depth_m(_solid(Shape.BLOCK, centre_m=(12, 0, 1.5), half_m=(2, 3, 1)))
    assert np.allclose(depth_m[24:37, 28:73], 10.0, rtol=1e-12)  # 1 m up, 3 m aside at 10 m
    assert np.isinf(depth_m[21, 50]) and depth_m[39, 50] == pytest.approx(1.5 * 80 / 9)


def test_depth_of_a_turned_box_and_of_a_leaning_face() -> None:
    turned = _depth_m(
        _solid(Shape.BLOCK, centre_m=(12, 0, 1.5), half_m=(2, 2, 1), yaw_rad=np.pi / 4)
    )
    assert turned[30, 50] == pytest.approx(12 - 2 * np.sqrt(2))  # an edge points at the camera
    leaning = _depth_m(
        _solid(Shape.BLOCK, centre_m=(12, 0, 1.5), half_m=(2, 3, 1), inset_m=(0, 1.0, 0, 0))
    )
    assert leaning[30, 50] == pytest.approx(10.5)  # halfway up, half the inset


def test_depth_of_a_sphere_and_of_a_cylinder() -> None:
    upright = _solid(Shape.CYLINDER, centre_m=(9, 0, 1.5), half_m=(1, 1, 1.2))
    depth_m = _depth_m(upright)
    x = (55 - 50) / 80  # a ray 5 pixels to the side, in the plane of the axis' foot
    a, b, c = 1 + x * x, -9.0, 80.0
    assert depth_m[30, 50] == pytest.approx(8.0)
    assert depth_m[30, 55] == pytest.approx((-b - np.sqrt(b * b - a * c)) / a, abs=0.03)  # facets
    sphere = _solid(Shape.ELLIPSOID, centre_m=(9, 0, 1.5), half_m=(1, 1, 1))
    hits = _cast([sphere], np.linspace(44, 56, 40), np.full(40, 30.0))
    met = hits.row == 1
    at = LEVEL.directions(np.linspace(44, 56, 40), np.full(40, 30.0))[:, met] * hits.t[met]
    radius = np.linalg.norm(at - [[9], [0], [0]], axis=0)
    assert met.sum() > 15 and (radius < 1).all() and (radius > 0.96).all()  # 320 facets within


# --- sensors agree ---


def test_lidar_agrees_with_exact_depth(nusc: NuScenes, world: Path) -> None:
    errors = np.concatenate([_lidar_errors_m(nusc, world, s) for s in nusc.sample])
    assert len(errors) > 5000
    assert np.median(errors) < 0.03
    assert (errors < 0.10).mean() > 0.90  # the rest: moving vehicles, leaves, outlines


def _lidar_errors_m(nusc: NuScenes, world: Path, sample: dict) -> np.ndarray:
    """|z of returns in the camera - exact depth|, where the depth is smooth."""
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    camera = nusc.get("sample_data", sample["data"]["CAM_FRONT"])
    calibration = nusc.get("calibrated_sensor", camera["calibrated_sensor_token"])
    points = np.fromfile(world / lidar["filename"], np.float32).reshape(-1, 5)[:, :3]
    T_camera_lidar = np.linalg.inv(_T_world_sensor(nusc, camera)) @ _T_world_sensor(nusc, lidar)
    at = T_camera_lidar[:3, :3] @ points.T + T_camera_lidar[:3, 3:]
    at = at[:, at[2] > 1]
    u, v, _ = np.array(calibration["camera_intrinsic"]) @ (at / at[2])
    stem = Path(camera["filename"]).stem
    depth_m = decode_depth_png((world / f"truth/depth/CAM_FRONT/{stem}.png").read_bytes())
    inside = (u > 0) & (v > 0) & (u < SIZE[0] - 1) & (v < SIZE[1] - 1)
    u, v, z_m = u[inside], v[inside], at[2, inside]
    i, j = v.astype(int), u.astype(int)
    corners = np.stack([depth_m[i + a, j + b] for a in (0, 1) for b in (0, 1)])
    smooth = (corners.min(0) > 0) & (corners.max(0) < 1.08 * corners.min(0))
    near = z_m < 40
    keep = smooth & near
    weight_v, weight_u = v - i, u - j
    inverse = 1 / corners[:, keep]  # of a plane, linear over the image
    top = inverse[0] + (inverse[1] - inverse[0]) * weight_u[keep]
    bottom = inverse[2] + (inverse[3] - inverse[2]) * weight_u[keep]
    return np.abs(1 / (top + (bottom - top) * weight_v[keep]) - z_m[keep])


def _T_world_sensor(nusc: NuScenes, data: dict) -> np.ndarray:
    T = np.eye(4)
    for record in (
        nusc.get("calibrated_sensor", data["calibrated_sensor_token"]),
        nusc.get("ego_pose", data["ego_pose_token"]),
    ):
        step = np.eye(4)
        step[:3, :3] = Quaternion(record["rotation"]).rotation_matrix
        step[:3, 3] = record["translation"]
        T = step @ T
    return T


def _view(scene: Scene, t_s: float, size: tuple[int, int]) -> View:
    mount = CAMERAS["CAM_FRONT"]
    return View(
        T_world_camera=scene.ego.pose(t_s) @ mount.T_ego_camera(),
        intrinsics=mount.intrinsics(size),
        size=size,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_the_next_image_warps_onto_this_one(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), 1.0)
    here, there = (_view(scene, t, (336, 192)) for t in (0.5, 0.5 + 1 / 12))
    this, following = render(scene, 0.5, here), render(scene, 0.5 + 1 / 12, there)
    parked = scene.at(0.5).solids.owner[this.row] < 0
    T_next_this = np.linalg.inv(there.T_world_camera) @ here.T_world_camera
    true = _photometric_error(this, following, here, T_next_this, parked)
    still = _photometric_error(this, following, here, np.eye(4), parked)
    backwards = _photometric_error(this, following, here, np.linalg.inv(T_next_this), parked)
    assert true < 0.5 * still
    assert true < 0.4 * backwards


def _photometric_error(
    this: Picture, following: Picture, view: View, T: np.ndarray, mask: np.ndarray
) -> float:
    v, u = np.mgrid[0.0 : view.size[1], 0.0 : view.size[0]]
    rays = np.tensordot(np.linalg.inv(view.intrinsics), np.stack([u, v, np.ones_like(u)]), 1)
    at = np.tensordot(T[:3, :3], rays * this.depth_m, 1) + T[:3, 3][:, None, None]
    seen = mask & (this.depth_m > 0) & (at[2] > 0.5)
    uv = np.tensordot(view.intrinsics, at / np.where(seen, at[2], 1), 1)[:2].astype(np.float32)
    warped = cv2.remap(following.image, uv[0], uv[1], cv2.INTER_LINEAR)
    seen &= (uv[0] > 0) & (uv[1] > 0) & (uv[0] < view.size[0] - 1) & (uv[1] < view.size[1] - 1)
    return float(np.abs(warped.astype(float) - this.image)[seen].mean())
