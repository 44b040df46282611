import hashlib
import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.geometry.projection import project_points_md4all
from nightrain.datasets.ids import frame_id
from nightrain.datasets.shards.rows import frame_to_row
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from support.paths import REAL_DATA
from support.sources import nuscenes as fixture
from support.sources.nuscenes import NuScenesFolder, failures, token_of

REAL = REAL_DATA / "nuscenes"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real keyframe is not here")

FRONT = token_of("scene-0061", "CAM_FRONT", 3)  # the frame that gets damaged
LIDAR = token_of("scene-0061", "LIDAR_TOP", 3)
TWO_SCENES = fixture.SCENES[:1] + fixture.SCENES[2:3]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> NuScenesFolder:
    return fixture.build(tmp_path_factory.mktemp("nuscenes"), scenes=TWO_SCENES)


@pytest.fixture
def folder(pristine: NuScenesFolder, tmp_path: Path) -> NuScenesFolder:
    """A copy to damage."""
    shutil.copytree(pristine.root, tmp_path / "data")
    return fixture.NuScenesFolder(
        tmp_path / "data", tables=fixture.build(tmp_path / "again", scenes=TWO_SCENES).tables
    )


def open_front(folder: NuScenesFolder, *, neighbours: bool = False) -> NuScenesSource:
    source = NuScenesSource(
        NuScenesConfig(
            root=folder.root, version=folder.version, cameras=["CAM_FRONT"], neighbours=neighbours
        )
    )
    contract: FrameSource = source  # the type checker's proof that it is one
    assert contract.select("all")
    return source


def ref_of(source: NuScenesSource, token: str) -> FrameRef:
    return next(ref for ref in source.select("all") if ref.source_id == token)


def load(source: NuScenesSource, token: str = FRONT) -> Frame:
    return source.load(ref_of(source, token))


# ---------------------------------------------------------------- what a whole frame holds


def test_a_frame_holds_what_the_tables_say(pristine: NuScenesFolder) -> None:
    frame = load(open_front(pristine, neighbours=True))
    assert frame.frame_id == frame_id("nuscenes", FRONT)
    assert (frame.source_dataset, frame.source_id) == ("nuscenes", FRONT)
    assert (frame.split, frame.scene_id, frame.camera) == ("train", "scene-0061", "CAM_FRONT")
    assert frame.condition is Condition.CLEAR and "Parked truck" in frame.description
    assert frame.image.data == pristine.file(FRONT).read_bytes()
    assert frame.timestamp_us == fixture.START_US + 3 * fixture.STEP_US
    np.testing.assert_array_equal(frame.intrinsics, fixture.INTRINSICS)
    assert frame.exact_depth_m is None


def test_the_camera_stands_where_the_car_and_its_mount_put_it(pristine: NuScenesFolder) -> None:
    frame = load(open_front(pristine))
    translation, rotation = fixture.ego_pose(TWO_SCENES[0], frame.timestamp_us)
    mount, camera_rotation = fixture.CAMERAS["CAM_FRONT"]
    origin = translation + rotation.rotate(np.array(mount))
    np.testing.assert_allclose(frame.T_world_camera[:3, 3], origin, atol=1e-9)
    expected = (rotation * camera_rotation).rotation_matrix
    np.testing.assert_allclose(frame.T_world_camera[:3, :3], expected, atol=1e-9)


@pytest.mark.parametrize("camera", list(fixture.CAMERAS))
def test_static_landmarks_land_on_their_pixels(pristine: NuScenesFolder, camera: str) -> None:
    source = NuScenesSource(
        NuScenesConfig(root=pristine.root, version=pristine.version, cameras=[camera])
    )
    frame = load(source, token_of("scene-0061", camera, 3))
    mount = fixture.CAMERAS[camera]
    world_m = fixture.landmarks(TWO_SCENES[0], 3)
    points_m = fixture.to_sensor(TWO_SCENES[0], mount, frame.timestamp_us, world_m)
    points_m = points_m[points_m[:, 2] >= 1]
    expected: dict[tuple[int, int], float] = {}
    for u, v, z in points_m @ np.array(fixture.INTRINSICS).T:
        column, row = round(u / z), round(v / z)
        if 1 <= column <= fixture.SIZE[0] - 2 and 1 <= row <= fixture.SIZE[1] - 2:
            expected[row, column] = min(z, expected.get((row, column), np.inf))
    assert frame.lidar_depth_m is not None and len(expected) > 50
    found = {(r, c): frame.lidar_depth_m[r, c] for r, c in np.argwhere(frame.lidar_depth_m)}
    assert found.keys() == expected.keys()
    assert all(found[p] == pytest.approx(expected[p], abs=1e-4) for p in expected)


def test_the_projection_of_md4all_keeps_the_last_point_of_a_truncated_pixel(
    pristine: NuScenesFolder,
) -> None:
    plain = open_front(pristine)
    settings = plain.config.model_copy(update={"projection": "md4all"})
    found = load(NuScenesSource(settings)).lidar_depth_m
    default = load(plain).lidar_depth_m
    assert found is not None and default is not None and not np.array_equal(found, default)
    assert plain.config.record()["projection"] == "nearest"
    assert settings.record()["projection"] == "md4all"
    record = plain._record(FRONT)
    points_m = plain._sweep_m(record)
    assert points_m is not None and plain._lidar_record(record) is not None
    size = (default.shape[1], default.shape[0])
    with pytest.MonkeyPatch.context() as patch:  # what the source projects, by the slow oracle
        patch.setattr(
            "nightrain.datasets.sources.nuscenes.source.project_points", project_points_md4all
        )
        expected = plain._lidar_depth_m(record, points_m, size)
    assert expected is not None
    np.testing.assert_array_equal(found, expected)


def test_neighbours_are_the_adjacent_sweeps_and_static_points_agree(
    pristine: NuScenesFolder,
) -> None:
    frame = load(open_front(pristine, neighbours=True))
    world_m = fixture.landmarks(TWO_SCENES[0], 3)
    mount = fixture.CAMERAS["CAM_FRONT"]
    here_m = fixture.to_sensor(TWO_SCENES[0], mount, frame.timestamp_us, world_m)
    for neighbour, number in ((frame.previous, 2), (frame.next, 4)):
        assert neighbour is not None
        assert neighbour.source_id == token_of("scene-0061", "CAM_FRONT", number)
        there_m = fixture.to_sensor(TWO_SCENES[0], mount, neighbour.timestamp_us, world_m)
        T = neighbour.T_neighbour_camera
        np.testing.assert_allclose(here_m @ T[:3, :3].T + T[:3, 3], there_m, atol=1e-8)
        assert neighbour.image.data == pristine.file(neighbour.source_id).read_bytes()
    assert load(open_front(pristine)).previous is None


def test_the_ends_of_a_scene_have_one_neighbour(pristine: NuScenesFolder) -> None:
    source = open_front(pristine, neighbours=True)
    first = load(source, token_of("scene-0061", "CAM_FRONT", 0))
    last = load(source, token_of("scene-0061", "CAM_FRONT", 6))
    assert first.previous is None and first.next is not None
    assert last.previous is not None and last.next is None


def test_keyframes_sweeps_and_all(pristine: NuScenesFolder) -> None:
    def tokens(frames: str) -> list[str]:
        source = NuScenesSource(
            NuScenesConfig(root=pristine.root, version=pristine.version, frames=frames)  # type: ignore[arg-type]
        )
        return [ref.source_id for ref in source.select("all")]

    keyframes, sweeps = tokens("keyframes"), tokens("sweeps")
    assert len(keyframes) == 2 * 2 * 3 and len(sweeps) == 2 * 2 * 4
    assert set(tokens("all")) == {*keyframes, *sweeps}
    source = NuScenesSource(
        NuScenesConfig(root=pristine.root, version=pristine.version, frames="all")
    )
    assert load(source, token_of("scene-0061", "CAM_FRONT", 4)).lidar_depth_m is None
    with pytest.raises(ValueError, match="'keyframes', 'sweeps' or 'all'"):
        tokens("some")


def test_rendered_depth_is_read_in_the_world(tmp_path: Path) -> None:
    def depth_m(channel: str, number: int) -> np.ndarray:
        return np.full(fixture.SIZE[::-1], 10.0 + number, np.float32)

    fixture.build(tmp_path, "v1.0-world", TWO_SCENES[:1], exact_depth=depth_m)
    source = NuScenesSource(
        NuScenesConfig(root=tmp_path, version="v1.0-world", cameras=["CAM_FRONT"])
    )
    assert (source.name, source.licence) == ("world", "Apache-2.0")
    frame = load(source)
    assert frame.exact_depth_m is not None and np.all(frame.exact_depth_m == 13.0)
    (tmp_path / "truth/depth/CAM_FRONT" / f"{Path(_name(tmp_path)).stem}.png").write_bytes(b"no")
    assert failures(source) == {FRONT: Reason.UNDECODABLE_IMAGE}


def _name(root: Path) -> str:
    return next(p.name for p in (root / "samples/CAM_FRONT").iterdir() if "927300000" in p.name)


def test_a_source_opens_again_in_another_process(pristine: NuScenesFolder) -> None:
    source = open_front(pristine)
    again = pickle.loads(pickle.dumps(source))
    assert again.select("all") == source.select("all")
    assert load(again).image == load(source).image


# ---------------------------------------------------------------- damage, one frame at a time

Damage = Callable[[NuScenesFolder], object]


def of_record(table: str, token: str, **fields: object) -> Damage:
    return lambda folder: folder.record(table, token).update(fields)


def without(table: str, token: str, key: str) -> Damage:
    return lambda folder: folder.record(table, token).pop(key)


def dropped(table: str, token: str) -> Damage:
    return lambda folder: folder.tables[table].remove(folder.record(table, token))


def of_file(token: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda f: f.file(token).write_bytes(change(f.file(token).read_bytes()))


def with_nan(data: bytes) -> bytes:
    points = np.frombuffer(data, "<f4").copy()
    points[7] = np.nan
    return points.tobytes()


FRONT_DAMAGE: list[tuple[Damage, Reason]] = [
    (of_record("sample_data", FRONT, filename="../../etc/passwd"), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, filename="/etc/passwd"), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, filename="samples/CAM_FRONT/\0"), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, filename="\ud800"), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, filename=None), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, filename="samples"), Reason.UNSAFE_PATH),
    (of_record("sample_data", FRONT, timestamp="yesterday"), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, timestamp=1 << 70), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, width=None), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, width=127), Reason.SIZE_MISMATCH),
    (of_record("sample_data", FRONT, is_key_frame="yes"), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, sample_token="gone"), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, sample_token=["x"]), Reason.BAD_RECORD),
    (of_record("sample_data", FRONT, ego_pose_token="gone"), Reason.BAD_POSE),
    (of_record("sample_data", FRONT, calibrated_sensor_token="gone"), Reason.BAD_CALIBRATION),
    (without("sample_data", FRONT, "calibrated_sensor_token"), Reason.BAD_RECORD),
    (without("sample_data", FRONT, "filename"), Reason.UNSAFE_PATH),
    (dropped("ego_pose", FRONT), Reason.BAD_POSE),
    (of_record("ego_pose", FRONT, translation=[0, float("nan"), 0]), Reason.BAD_POSE),
    (of_record("ego_pose", FRONT, translation=[1e300, 0, 0]), Reason.BAD_POSE),
    (of_record("ego_pose", FRONT, rotation=[0, 0, 0, 0]), Reason.BAD_POSE),
    (of_record("ego_pose", FRONT, rotation="none"), Reason.BAD_POSE),
    (without("ego_pose", FRONT, "rotation"), Reason.BAD_POSE),
    (of_record("ego_pose", LIDAR, rotation=[0, 0, 0, 0]), Reason.BAD_POSE),
    (of_record("sample_data", LIDAR, filename="../x"), Reason.UNSAFE_PATH),
    (of_record("sample_data", LIDAR, ego_pose_token="gone"), Reason.BAD_POSE),
    (of_file(FRONT, lambda data: b""), Reason.EMPTY_FILE),
    (of_file(FRONT, lambda data: data[: len(data) // 2]), Reason.UNDECODABLE_IMAGE),
    (of_file(FRONT, lambda data: b"GIF89a" + data), Reason.UNDECODABLE_IMAGE),
    (lambda folder: folder.file(FRONT).unlink(), Reason.MISSING_FILE),
    (lambda folder: folder.file(LIDAR).unlink(), Reason.MISSING_FILE),
    (of_file(LIDAR, lambda data: data[:-3]), Reason.BAD_LIDAR),
    (of_file(LIDAR, with_nan), Reason.BAD_LIDAR),
]


@pytest.mark.parametrize(("damage", "reason"), FRONT_DAMAGE)
def test_damage_stops_its_own_frame_with_its_reason(
    folder: NuScenesFolder, damage: Damage, reason: Reason
) -> None:
    number = len(open_front(folder).select("all"))
    damage(folder)
    folder.write_tables()
    source = open_front(folder)
    assert len(source.select("all")) == number
    assert failures(source) == {FRONT: reason}


@pytest.mark.parametrize(
    "fields",
    [
        {"camera_intrinsic": []},
        {"camera_intrinsic": [[0, 0, 0]] * 3},
        {"camera_intrinsic": [[float("nan")] * 3] * 3},
        {"camera_intrinsic": "none"},
        {"camera_intrinsic": [[100, 0, 64], [0, 100], [0, 0, 1]]},
        {"camera_intrinsic": [[-100, 0, 64], [0, 100, 36], [0, 0, 1]]},
        {"rotation": [0, 0, 0, 0]},
        {"translation": [1, 2]},
        {"sensor_token": "gone"},
        {"sensor_token": None},
    ],
)
def test_a_bad_calibration_stops_its_scene_and_camera_only(
    folder: NuScenesFolder, fields: dict[str, object]
) -> None:
    of_record("calibrated_sensor", "calibration-scene-0061-CAM_FRONT", **fields)(folder)
    folder.write_tables()
    tokens = [token_of("scene-0061", "CAM_FRONT", n) for n in (0, 3, 6)]
    assert failures(open_front(folder)) == dict.fromkeys(tokens, Reason.BAD_CALIBRATION)


def test_a_bad_scene_or_sample_stops_the_frames_below_it(folder: NuScenesFolder) -> None:
    folder.record("scene", "token-scene-0061")["name"] = 5
    folder.record("sample", "scene-0103-0")["scene_token"] = "gone"
    folder.write_tables()
    tokens = [token_of("scene-0061", "CAM_FRONT", n) for n in (0, 3, 6)]
    tokens.append(token_of("scene-0103", "CAM_FRONT", 0))
    source = open_front(folder)
    assert failures(source) == dict.fromkeys(tokens, Reason.BAD_RECORD)
    assert ref_of(source, tokens[0]).split == "none"


def test_records_without_tokens_or_repeated_keep_one_place(folder: NuScenesFolder) -> None:
    records = folder.tables["sample_data"]
    records.append(dict(folder.record("sample_data", FRONT)))
    records.append({"filename": "samples/CAM_FRONT/x.jpg"})
    records.extend([7, None, {"token": "bare"}])  # type: ignore[list-item]
    folder.tables["ego_pose"].append("x")  # type: ignore[arg-type]
    folder.write_tables()
    source = open_front(folder)
    number = len(records) - 4
    assert failures(source) == {
        FRONT: Reason.BAD_RECORD,
        f"sample_data[{number}]": Reason.BAD_RECORD,
    }
    assert set(source.unplaced) == {*(f"sample_data[{number + n}]" for n in (1, 2)), "bare"}


def test_pictures_are_stored_as_every_reader_shows_them(folder: NuScenesFolder) -> None:
    front, beside = folder.file(FRONT), folder.file(token_of("scene-0061", "CAM_FRONT", 4))
    for path in (front, beside):
        with Image.open(path) as image:
            image.convert("L").save(path)
    row = frame_to_row(load(open_front(folder, neighbours=True)), "", "")
    for column in ("image", "next_image", "previous_image"):
        with Image.open(io.BytesIO(row[column]["bytes"])) as image:
            assert image.mode == "RGB" and image.size == fixture.SIZE
    assert row["image_sha256"] == hashlib.sha256(row["image"]["bytes"]).hexdigest()
    turned = Image.Exif()
    turned[0x0112] = 3
    with Image.open(front) as image:
        image.save(front, exif=turned)
    assert failures(open_front(folder)) == {FRONT: Reason.UNDECODABLE_IMAGE}


def test_an_empty_sweep_costs_the_depth_alone(folder: NuScenesFolder) -> None:
    folder.file(LIDAR).write_bytes(b"")
    source = open_front(folder, neighbours=True)
    assert failures(source) == {}
    frame = load(source)
    assert frame.lidar_depth_m is None and frame.next is not None
    assert frame.description.endswith("turn left; empty LiDAR sweep: no depth")
    name, digest = folder.file(LIDAR).relative_to(folder.root), hashlib.sha256(b"points")
    (folder.root / "SHA256SUMS").write_text(f"{digest.hexdigest()}  {name}\n")
    assert failures(open_front(folder)) == {FRONT: Reason.CHECKSUM_MISMATCH}  # it was not empty
    other = load(source, token_of("scene-0061", "CAM_FRONT", 0))
    assert other.lidar_depth_m is not None and "empty" not in other.description


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (of_file(token_of("scene-0061", "CAM_FRONT", 4), lambda d: d[:99]), "undecodable_image"),
        (lambda f: f.file(token_of("scene-0061", "CAM_FRONT", 2)).unlink(), "missing_file"),
        (of_record("sample_data", FRONT, prev="gone"), "bad_record"),
        (of_record("sample_data", FRONT, next=FRONT), "bad_record"),
        (of_record("sample_data", FRONT, prev=token_of("scene-0061", "CAM_BACK", 2)), "bad_record"),
        (without("sample_data", FRONT, "next"), "bad_record"),
        (dropped("ego_pose", token_of("scene-0061", "CAM_FRONT", 4)), "bad_pose"),
    ],
)
def test_a_damaged_neighbour_stops_the_triplet_only(
    folder: NuScenesFolder, damage: Damage, reason: str
) -> None:
    damage(folder)
    folder.write_tables()
    source = open_front(folder, neighbours=True)
    assert failures(source) == {FRONT: reason}
    assert failures(open_front(folder)) == {}
    assert FRONT in [ref.source_id for ref in source.select("train")]  # to be reported, not lost


def test_a_flipped_bit_is_found_by_its_checksum(folder: NuScenesFolder) -> None:
    names = [folder.record("sample_data", token)["filename"] for token in (FRONT, LIDAR)]
    for name in names:
        digest = hashlib.sha256((folder.root / name).read_bytes()).hexdigest()
        (folder.root / "SHA256SUMS").write_text(f"{digest}  {name}\n")
        assert failures(open_front(folder)) == {}
        data = bytearray((folder.root / name).read_bytes())
        data[-20] ^= 1
        (folder.root / name).write_bytes(data)
        assert failures(open_front(folder)) == {FRONT: Reason.CHECKSUM_MISMATCH}


def test_an_unknown_frame_is_an_error(pristine: NuScenesFolder) -> None:
    source = open_front(pristine)
    ref = source.select("all")[0]
    other = FrameRef(**{**{n: getattr(ref, n) for n in FrameRef.__slots__}, "source_id": "gone"})
    with pytest.raises(DamagedInput, match="no sample_data record gone"):
        source.load(other)


# ---------------------------------------------------------------- a real keyframe


@pytest.fixture(scope="module")
def real() -> NuScenesSource:
    return NuScenesSource(NuScenesConfig(root=REAL, version="v1.0-mini"))


@needs_real
def test_all_six_real_cameras_load(real: NuScenesSource) -> None:
    refs = real.select("all")
    assert len({ref.camera for ref in refs}) == 6
    assert not real.select("train")  # the keyframe comes without its neighbours
    for ref in refs:
        frame = real.load(ref)
        assert (ref.split, ref.scene_id, ref.condition) == ("train", "scene-0061", "clear")
        assert frame.image.size() == (1600, 900) and frame.lidar_depth_m is not None
        depth_m = frame.lidar_depth_m[frame.lidar_depth_m > 0]
        assert 2500 < len(depth_m) < 6000
        assert depth_m.min() > 3 and 30 < depth_m.max() < 105
        assert 700 < frame.intrinsics[0, 0] < 1300 and frame.intrinsics[2, 2] == 1


@needs_real
def test_real_depth_agrees_with_the_devkit(real: NuScenesSource) -> None:
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes("v1.0-mini", str(REAL), verbose=False)
    sample = devkit.sample[0]
    for ref in real.select("all"):
        frame = real.load(ref)
        tokens = sample["data"]["LIDAR_TOP"], sample["data"][ref.camera]
        uv, depth_m, image = devkit.explorer.map_pointcloud_to_image(*tokens)
        image.close()
        expected_m = np.full((900, 1600), np.inf)
        columns, rows = np.rint(uv[:2]).astype(int)
        inside = (columns >= 1) & (columns <= 1598) & (rows >= 1) & (rows <= 898)
        np.minimum.at(expected_m, (rows[inside], columns[inside]), depth_m[inside])
        assert frame.lidar_depth_m is not None
        ours_m = np.where(frame.lidar_depth_m > 0, frame.lidar_depth_m, np.inf)
        # The devkit works in float32: a few points round to the pixel beside.
        assert np.mean(np.isclose(ours_m, expected_m, atol=2e-3)) > 1 - 50 / ours_m.size
