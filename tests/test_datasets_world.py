"""The built-in world: exact depth, true geometry, a layout the devkit reads, the same bytes."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from pyquaternion import Quaternion

from datasets.errors import Refused
from datasets.images import decode_depth_png, decode_jpeg
from datasets.world import VERSION, WorldReport, write_world
from datasets.world.camera import Picture, View, render
from datasets.world.layout import draw_scene
from datasets.world.mesh import grid
from datasets.world.raycast import Caster, Geometry, Hits
from datasets.world.rig import CAMERAS
from datasets.world.scene import Scene
from datasets.world.schedule import shots
from datasets.world.solids import Shape, Solid, Surface, pack
from datasets.world.tables import TABLES, quaternion
from datasets.world.writer import split_of

SIZE = (112, 64)
SEED = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "world"
    write_world(out, scenes=2, frames=2, seed=SEED, size=SIZE)
    return out


@pytest.fixture(scope="module")
def nusc(world: Path) -> NuScenes:
    return NuScenes(version=VERSION, dataroot=str(world), verbose=False)


# --- the layout ---


def test_the_devkit_finds_every_file_and_table(nusc: NuScenes, world: Path) -> None:
    assert [s["name"] for s in nusc.scene] == ["world-0000", "world-0001"]
    assert all((world / d["filename"]).is_file() for d in nusc.sample_data)
    assert all((world / VERSION / f"{name}.json").is_file() for name in TABLES)
    assert all(s["description"].startswith("Clear weather") for s in nusc.scene)
    for sample in nusc.sample:
        assert set(sample["data"]) == {"CAM_FRONT", "LIDAR_TOP"}


def test_images_of_a_camera_are_chained_in_time(nusc: NuScenes) -> None:
    heads = [d for d in nusc.sample_data if d["channel"] == "CAM_FRONT" and not d["prev"]]
    assert len(heads) == 2
    for data in heads:
        chain = [data]
        while chain[-1]["next"]:
            chain.append(nusc.get("sample_data", chain[-1]["next"]))
            assert chain[-1]["prev"] == chain[-2]["token"]
        times = [d["timestamp"] for d in chain]
        assert times == sorted(set(times)) and len(chain) == 6
        assert [d["is_key_frame"] for d in chain] == [False, True, False] * 2
        assert np.diff(times).min() == pytest.approx(1e6 / 12, abs=2)


def test_keyframes_have_their_size_and_exact_depth(nusc: NuScenes, world: Path) -> None:
    for data in nusc.sample_data:
        if not (data["is_key_frame"] and data["channel"] == "CAM_FRONT"):
            continue
        image = decode_jpeg((world / data["filename"]).read_bytes())
        stem = Path(data["filename"]).stem
        depth_m = decode_depth_png((world / f"truth/depth/CAM_FRONT/{stem}.png").read_bytes())
        assert image.shape[:2] == depth_m.shape == (SIZE[1], SIZE[0])
        assert (data["width"], data["height"]) == SIZE
        assert 2 < np.median(depth_m[-1]) < 8  # the road just ahead of the bonnet


def test_the_speed_of_the_ego_vehicle_is_real(nusc: NuScenes) -> None:
    for scene in range(2):
        poses = [p for p in _lidar_poses(nusc) if p["timestamp"] // 3_600_000_000 % 2 == scene % 2]
        place = np.array([p["translation"] for p in poses])
        time_s = np.array([p["timestamp"] for p in poses]) / 1e6
        speeds = np.linalg.norm(np.diff(place, axis=0), axis=1) / np.diff(time_s)
        assert ((speeds > 2.5) & (speeds < 13)).all()
        for pose, step in zip(poses, np.diff(place, axis=0), strict=False):
            forward = Quaternion(pose["rotation"]).rotation_matrix[:, 0]
            assert forward @ step / np.linalg.norm(step) > 0.995


def _lidar_poses(nusc: NuScenes) -> list[dict]:
    data = [d for d in nusc.sample_data if d["channel"] == "LIDAR_TOP"]
    return [nusc.get("ego_pose", d["ego_pose_token"]) for d in data]


def test_the_map_says_where_the_road_is(nusc: NuScenes) -> None:
    for scene in nusc.scene:
        log = nusc.get("log", scene["log_token"])
        mask = nusc.get("map", log["map_token"])["mask"]
        sample = nusc.get("sample", scene["first_sample_token"])
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, _ = nusc.get("ego_pose", lidar["ego_pose_token"])["translation"]
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(x, y - 6).any() and not mask.is_on_mask(x, y + 10).any()


def test_boxes_hold_the_returns_they_count(nusc: NuScenes, world: Path) -> None:
    checked = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3]
        for box in boxes:
            count = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            local = box.rotation_matrix.T @ (points.T - box.center[:, None])
            half = np.array([box.wlh[1], box.wlh[0], box.wlh[2]])[:, None] / 2 + 0.08
            inside = int((np.abs(local) < half).all(axis=0).sum())
            assert inside >= 0.9 * count
            checked += 1
    assert checked > 20
    assert {d["visibility_token"] for d in nusc.sample_annotation} <= {"1", "2", "3", "4"}


def test_splits_checksums_and_report(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "w"
    report = write_world(
        out, scenes=5, frames=1, seed=1, size=(32, 16), progress=lambda *a: seen.append(a)
    )
    assert json.loads((out / VERSION / "splits.json").read_text()) == {
        "train": [f"world-000{k}" for k in range(4)],
        "val": ["world-0004"],
    }
    assert [split_of(k, 4) for k in range(4)] == ["train"] * 4
    assert seen == [(k + 1, 15) for k in range(15)]
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    sums = [line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in sums] == sorted(files - {"SHA256SUMS"})
    for digest, name in sums:
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert isinstance(report, WorldReport)
    assert (report.num_images, report.num_keyframes, report.num_files) == (15, 5, len(files))


def test_all_sweeps_are_twelve_a_second() -> None:
    every = [s.timestamp_us for s in shots(0, "CAM_FRONT", 3, "all")]
    near = [s.timestamp_us for s in shots(0, "CAM_FRONT", 3, "neighbours")]
    assert np.diff(every) == pytest.approx(1e6 / 12, abs=2)
    assert set(near) < set(every) and len(every) == 15
    assert (every[0], every[-1]) == (near[0], near[-1])


def test_six_cameras_look_six_ways(tmp_path: Path) -> None:
    write_world(tmp_path / "six", scenes=1, frames=1, seed=2, size=(32, 18), cameras=tuple(CAMERAS))
    nusc = NuScenes(version=VERSION, dataroot=str(tmp_path / "six"), verbose=False)
    assert set(nusc.sample[0]["data"]) == {*CAMERAS, "LIDAR_TOP"}
    ahead = {
        name: Quaternion(
            nusc.get("calibrated_sensor", nusc.get("sample_data", t)["calibrated_sensor_token"])[
                "rotation"
            ]
        ).rotation_matrix[:, 2]
        for name, t in nusc.sample[0]["data"].items()
    }
    assert ahead["CAM_FRONT"][0] > 0.99 and ahead["CAM_BACK"][0] < -0.99
    assert ahead["CAM_FRONT_LEFT"][1] > 0.7 and ahead["CAM_BACK_RIGHT"][1] < -0.7


# --- the same bytes, or nothing ---


def test_a_scene_depends_on_its_seed_and_index_alone(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "more", scenes=3, frames=2, seed=SEED, size=SIZE)
    first, more = _digests(world), _digests(tmp_path / "more")
    shared = [name for name in first if not name.startswith(VERSION)]
    assert all(first[name] == more[name] for name in shared)
    write_world(tmp_path / "other", scenes=1, frames=2, seed=SEED + 1, size=SIZE)
    other = _digests(tmp_path / "other")
    images = [name for name in shared if name in other and name.endswith(".jpg")]
    assert images and all(first[name] != other[name] for name in images)
    few = json.loads((world / VERSION / "sample_annotation.json").read_text())
    many = json.loads((tmp_path / "more" / VERSION / "sample_annotation.json").read_text())
    assert many[: len(few)] == few


def _digests(world: Path) -> dict[str, str]:
    lines = (world / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(Refused, match=r"already holds 1 entries \(mine.txt"):
        write_world(tmp_path, scenes=1, frames=1, seed=0, size=(32, 16))
    with pytest.raises(Refused, match="is not a folder"):
        write_world(tmp_path / "mine.txt", scenes=1, frames=1, seed=0, size=(32, 16))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="0 scenes"):
        write_world(tmp_path / "w", scenes=0, frames=1, seed=0)
    with pytest.raises(Refused, match="CAM_TOP"):
        write_world(tmp_path / "w", scenes=1, frames=1, seed=0, cameras=("CAM_TOP",))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_world_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "w").mkdir()  # an empty folder is fine to write into
    with pytest.raises(KeyboardInterrupt):
        write_world(tmp_path / "w", scenes=1, frames=1, seed=0, size=(32, 16), progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["w"] and not list((tmp_path / "w").iterdir())
    write_world(tmp_path / "w", scenes=1, frames=1, seed=0, size=(32, 16))
    assert (tmp_path / "w" / "SHA256SUMS").is_file()


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


def test_a_quaternion_gives_back_its_rotation() -> None:
    for seed in range(20):
        random = Quaternion(np.random.default_rng(seed).normal(size=4))
        R = random.unit.rotation_matrix
        assert np.allclose(Quaternion(quaternion(R)).rotation_matrix, R, atol=1e-12)


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
