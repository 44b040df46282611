"""The built-in world on disk: a layout the devkit reads, the same bytes, or nothing."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from pyquaternion import Quaternion

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.world.export.nuscenes_tables import TABLES, quaternion
from nightrain.datasets.world.export.plan import Recording, ScenePlan, SceneSpec, scene_specs
from nightrain.datasets.world.export.recorder import camera_shots
from nightrain.datasets.world.export.world_presets import PRESETS
from nightrain.datasets.world.export.writer import VERSION, WorldReport, write_world
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.datasets.world.sensors.schedule import shots
from nightrain.datasets.world.shapes.raycast import Caster, Geometry
from nightrain.datasets.world.shapes.solids import Surface, pack
from nightrain.datasets.world.street.ground_mesh import ground
from nightrain.datasets.world.street.places import draw_place
from nightrain.datasets.world.street.street import STREET_Y_M
from nightrain.datasets.world.street.street_map import MAP_PIXEL_M, road_png

SIZE = (112, 64)  # of the fixture two_scenes
SEED = 5


@pytest.fixture(scope="module")
def world(two_scenes: Path) -> Path:
    return two_scenes


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
        assert not mask.is_on_mask(x, y - 15).any() and not mask.is_on_mask(x, y + 25).any()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_map_agrees_with_the_ground(seed: int) -> None:
    """Rays straight down meet asphalt where the mask says so; round corners are left square."""
    street = draw_place(np.random.default_rng(seed), 3.0).street
    mask = cv2.imdecode(np.frombuffer(road_png(street), np.uint8), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, street.length_m - 1, 9000), STREET_Y_M + rng.uniform(-100, 100, 9000)
    solids = pack([*ground(street)])
    down = np.repeat([[0.0], [0.0], [-1.0]], 9000, 1)
    hits = Caster([Geometry(solids)]).cast(np.stack([x, y, np.full(9000, 50.0)]), down)
    road = np.isin(solids.surface[hits.row], (Surface.STREET, Surface.CROSS_STREET))
    row = mask.shape[0] - 1 - np.rint(y / MAP_PIXEL_M).astype(int)
    on_map = mask[row, np.rint(x / MAP_PIXEL_M).astype(int)] == 255
    assert 0.03 < road.mean() < 0.5
    assert (on_map == road).mean() > 0.996


def test_boxes_hold_the_returns_they_count(nusc: NuScenes, world: Path) -> None:
    checked = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3]
        for box in boxes:
            count = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            local = box.rotation_matrix.T @ (points.T - box.center[:, None])
            stick_out = np.array([0.28, 0.2, 0.15])  # of a stride's feet, mirrors, aerials
            half = np.array([box.wlh[1], box.wlh[0], box.wlh[2]]) / 2 + stick_out
            inside = int((np.abs(local) < half[:, None]).all(axis=0).sum())
            assert inside >= 0.95 * count
            checked += 1
    assert checked > 20
    assert {d["visibility_token"] for d in nusc.sample_annotation} <= {"1", "2", "3", "4"}


def test_splits_checksums_and_report(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "w"
    scenes = [SceneSpec(place=0), SceneSpec(place=7, split="val")]
    report = write_world(
        out, scenes=scenes, frames=1, seed=1, size=(32, 16), progress=lambda *a: seen.append(a)
    )
    assert json.loads((out / VERSION / "splits.json").read_text()) == {
        "train": ["world-0000"],
        "val": ["world-0007"],
        "test": [],
    }
    assert {spec.split for spec in scene_specs(4, (Condition.CLEAR,))} == {"train"}
    assert seen == [(k + 1, 6) for k in range(6)]
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    sums = [line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in sums] == sorted(files - {"SHA256SUMS"})
    for digest, name in sums:
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert isinstance(report, WorldReport)
    assert (report.num_images, report.num_keyframes, report.num_files) == (6, 2, len(files))


def test_all_sweeps_are_twelve_a_second() -> None:
    every = [s.timestamp_us for s in shots(0, "CAM_FRONT", 3, "all")]
    near = [s.timestamp_us for s in shots(0, "CAM_FRONT", 3, "neighbours")]
    assert np.diff(every) == pytest.approx(1e6 / 12, abs=2)
    assert set(near) < set(every) and len(every) == 15
    assert (every[0], every[-1]) == (near[0], near[-1])


@pytest.mark.parametrize(
    ("condition", "images"), [(Condition.CLEAR, 6), (Condition.NIGHT, 2), (Condition.RAIN, 2)]
)
def test_neighbours_by_day_are_of_clear_scenes_alone(condition: Condition, images: int) -> None:
    """Two keyframes; the benches are recorded in this way."""
    recording = Recording(num_keyframes=2, sweeps=PRESETS["bench-twins"].sweeps)
    plan = ScenePlan(seed=0, spec=SceneSpec(place=0, condition=condition), recording=recording)
    assert len(camera_shots(plan)["CAM_FRONT"]) == images


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


def test_a_scene_depends_on_its_seed_and_place_alone(world: Path, tmp_path: Path) -> None:
    alone = [SceneSpec(place=1)]
    for name, seed in (("alone", SEED), ("other", SEED + 1)):
        write_world(tmp_path / name, scenes=alone, frames=2, seed=seed, size=SIZE)
    both, one, other = (_digests(p) for p in (world, tmp_path / "alone", tmp_path / "other"))
    shared = [name for name in one if not name.startswith(VERSION)]
    assert len(shared) > 10 and all(both[name] == one[name] for name in shared)
    images = [name for name in shared if name in other and name.endswith(".jpg")]
    assert images and all(one[name] != other[name] for name in images)
    few = json.loads((tmp_path / "alone" / VERSION / "sample_annotation.json").read_text())
    many = json.loads((world / VERSION / "sample_annotation.json").read_text())
    assert few and many[-len(few) :] == few


def _digests(world: Path) -> dict[str, str]:
    lines = (world / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InvalidRequest, match=r"already holds 1 entries \(mine.txt"):
        write_world(tmp_path, scenes=1, frames=1, seed=0, size=(32, 16))
    with pytest.raises(InvalidRequest, match="is not a folder"):
        write_world(tmp_path / "mine.txt", scenes=1, frames=1, seed=0, size=(32, 16))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="0 scenes"):
        write_world(tmp_path / "w", scenes=0, frames=1, seed=0)
    with pytest.raises(InvalidRequest, match="CAM_TOP"):
        write_world(tmp_path / "w", scenes=1, frames=1, seed=0, cameras=("CAM_TOP",))
    assert not list(tmp_path.iterdir())


def test_a_quaternion_gives_back_its_rotation() -> None:
    for seed in range(20):
        random = Quaternion(np.random.default_rng(seed).normal(size=4))
        R = random.unit.rotation_matrix
        assert np.allclose(Quaternion(quaternion(R)).rotation_matrix, R, atol=1e-12)
