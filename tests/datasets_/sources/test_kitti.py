"""KITTI frames against exact truth, in pixels and centimetres."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.source import KittiSource
from support.sources import kitti as fixture
from support.sources.kitti import CAMERAS, DRIVE, load, raw, ref_of, source_id

LEFT, RIGHT = CAMERAS
BOTH = ("image_02", "image_03")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixture.build(tmp_path_factory.mktemp("kitti"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One to damage."""
    return fixture.build(tmp_path / "kitti")


def test_a_frame_holds_what_the_files_say(pristine: Path) -> None:
    source = KittiSource(KittiConfig(root=pristine))
    assert not source.notes
    frame = load(source, 2)
    assert frame.frame_id == frame_id("kitti", source_id(2))
    assert (frame.source_dataset, frame.source_id) == ("kitti", source_id(2))
    assert (frame.split, frame.scene_id, frame.camera) == ("none", DRIVE, "image_02")
    assert frame.condition is Condition.CLEAR
    assert frame.timestamp_us == fixture.START_US + 2 * fixture.STEP_US
    np.testing.assert_allclose(frame.intrinsics, fixture.intrinsics(), rtol=1e-8)
    error = frame.image.pixels() - fixture.picture(DRIVE, "image_02", 2).astype(int)
    assert np.abs(error).mean() < 2.0  # a PNG becomes a JPEG
    assert source.licence == "CC-BY-NC-SA-3.0" and "Geiger" in source.attribution


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.name)
def test_the_pose_is_true_to_a_millimetre(pristine: Path, camera: fixture.Camera) -> None:
    source = KittiSource(KittiConfig(root=pristine, cameras=BOTH, neighbours=False))
    for number in range(fixture.NUM_FRAMES):
        T = load(source, number, camera.name).T_world_camera
        expected = np.linalg.inv(
            fixture.T_camera_velo(camera)
            @ fixture.T_VELO_IMU
            @ np.linalg.inv(fixture.T_world_imu(number))
        )
        np.testing.assert_allclose(T[:3, 3], expected[:3, 3], atol=1e-3)
        np.testing.assert_allclose(T[:3, :3], expected[:3, :3], atol=1e-6)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.name)
def test_static_landmarks_land_on_their_pixels(pristine: Path, camera: fixture.Camera) -> None:
    """Every landmark within rounding of where the truth puts it, and to the millimetre."""
    source = KittiSource(KittiConfig(root=pristine, cameras=BOTH))
    for number in (0, 3):
        frame = load(source, number, camera.name)
        points_m = fixture.to_camera(camera, number, fixture.landmarks())
        points_m = points_m[points_m[:, 2] >= 1]
        uv = points_m @ fixture.intrinsics().T
        uv = uv[:, :2] / uv[:, 2:]
        expected: dict[tuple[int, int], float] = {}
        for (u, v), z in zip(uv, points_m[:, 2], strict=True):
            if 1 <= round(u) <= fixture.SIZE[0] - 2 and 1 <= round(v) <= fixture.SIZE[1] - 2:
                pixel = round(v), round(u)
                expected[pixel] = min(z, expected.get(pixel, np.inf))
        assert frame.lidar_depth_m is not None and len(expected) > 100
        found = {(r, c): frame.lidar_depth_m[r, c] for r, c in np.argwhere(frame.lidar_depth_m)}
        assert found.keys() == expected.keys()
        assert all(found[p] == pytest.approx(expected[p], abs=1e-3) for p in expected)


def test_a_frame_without_a_scan_has_no_depth(pristine: Path) -> None:
    assert load(KittiSource(KittiConfig(root=pristine)), fixture.NUM_SCANS).lidar_depth_m is None


def test_neighbours_are_adjacent_and_static_points_agree(pristine: Path) -> None:
    source = KittiSource(KittiConfig(root=pristine))
    frame = load(source, 2)
    here_m = fixture.to_camera(LEFT, 2, fixture.landmarks())
    for neighbour, number in ((frame.previous, 1), (frame.next, 3)):
        assert neighbour is not None and neighbour.source_id == source_id(number)
        assert neighbour.timestamp_us == fixture.START_US + number * fixture.STEP_US
        there_m = fixture.to_camera(LEFT, number, fixture.landmarks())
        T = neighbour.T_neighbour_camera
        np.testing.assert_allclose(here_m @ T[:3, :3].T + T[:3, 3], there_m, atol=2e-3)
        assert neighbour.image.data == load(source, number).image.data
    assert load(source, 0).previous is None and load(source, 4).next is None
    assert load(KittiSource(KittiConfig(root=pristine, neighbours=False)), 2).previous is None


def test_the_stereo_pair_is_a_shift_by_the_baseline(pristine: Path) -> None:
    source = KittiSource(KittiConfig(root=pristine))  # the partner need not be asked for
    pair = source.stereo_pair(ref_of(source, source_id(1)))
    assert pair is not None and pair.source_id == source_id(1, "image_03")
    assert pair.timestamp_us == fixture.START_US + fixture.STEP_US
    expected = np.eye(4)
    expected[:3, 3] = np.array(RIGHT.shift_m) - LEFT.shift_m
    np.testing.assert_allclose(pair.T_neighbour_camera, expected, atol=1e-7)
    assert pair.T_neighbour_camera[0, 3] == pytest.approx(-0.5328)
    both = KittiSource(KittiConfig(root=pristine, cameras=BOTH))
    back = both.stereo_pair(ref_of(both, source_id(1, "image_03")))
    assert back is not None and back.T_neighbour_camera[0, 3] == pytest.approx(0.5328)
    assert pair.image.data == load(both, 1, "image_03").image.data


def test_a_frame_carries_its_pair_where_it_is_asked_for(pristine: Path) -> None:
    source = KittiSource(KittiConfig(root=pristine, stereo=True))
    ref = ref_of(source, source_id(1))
    pair, carried = source.stereo_pair(ref), source.load(ref).stereo
    assert pair is not None and carried is not None
    assert carried.image.data == pair.image.data
    assert np.array_equal(carried.T_neighbour_camera, pair.T_neighbour_camera)
    assert KittiSource(KittiConfig(root=pristine)).load(ref).stereo is None


def test_without_its_partner_there_is_no_stereo_pair(folder: Path) -> None:
    raw(folder, "image_03/data/0000000001.png").unlink()
    source = KittiSource(KittiConfig(root=folder))
    assert source.stereo_pair(ref_of(source, source_id(1))) is None
    assert source.stereo_pair(ref_of(source, source_id(2))) is not None


def test_without_oxts_no_pose_is_made_up(folder: Path) -> None:
    for file in raw(folder, "oxts/data").iterdir():
        file.unlink()
    source = KittiSource(KittiConfig(root=folder))
    frame = load(source, 2)
    np.testing.assert_array_equal(frame.T_world_camera, np.eye(4))
    assert frame.previous is None and frame.next is None
    assert "pose is unknown" in frame.description and "poses unknown" in source.notes[0]
    assert source.stereo_pair(ref_of(source, source_id(2))) is not None  # it needs none


def test_without_timestamps_times_are_nominal(folder: Path) -> None:
    raw(folder, "image_02/timestamps.txt").unlink()
    source = KittiSource(KittiConfig(root=folder))
    times_us = [ref.timestamp_us for ref in source.select("all")]
    assert set(np.diff(times_us)) == {100_000} and "nominal" in source.notes[0]
    assert times_us[0] == np.datetime64("2011-09-26T00:00:00", "us").astype(int)


def test_a_jpeg_keeps_its_bytes(folder: Path) -> None:
    data = encode_jpeg(fixture.picture(DRIVE, "image_02", 1), 90)
    raw(folder, "image_02/data/0000000001.png").unlink()
    raw(folder, "image_02/data/0000000001.jpg").write_bytes(data)
    assert load(KittiSource(KittiConfig(root=folder)), 1).image.data == data


def test_the_grey_camera_is_read_as_colour(folder: Path) -> None:
    grey = fixture.picture(DRIVE, "image_02", 0)[..., 0]
    data = cv2.imencode(".png", grey)[1].tobytes()
    raw(folder, "image_02/data/0000000000.png").write_bytes(data)
    pixels = load(KittiSource(KittiConfig(root=folder)), 0).image.pixels()
    assert np.ptp(pixels.astype(int), axis=2).max() <= 2


def test_the_kb_crop_moves_image_depth_and_principal_point_alike(tmp_path: Path) -> None:
    root = fixture.build(tmp_path, size=fixture.FULL_SIZE)
    whole, cropped = (
        load(KittiSource(KittiConfig(root=root)), 1),
        load(KittiSource(KittiConfig(root=root, kb_crop=True)), 1),
    )
    assert cropped.image.size() == (1216, 352)
    around = {
        (dx, dy): np.roll(whole.image.pixels(), (dy, dx), (0, 1))[23:, 13:1229].astype(int)
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    }
    error = {d: np.abs(cropped.image.pixels() - there).mean() for d, there in around.items()}
    assert min(error, key=lambda d: error[d]) == (0, 0) and error[0, 0] < 1.0
    assert whole.lidar_depth_m is not None and cropped.lidar_depth_m is not None
    np.testing.assert_array_equal(cropped.lidar_depth_m, whole.lidar_depth_m[23:, 13:1229])
    shift = whole.intrinsics - cropped.intrinsics
    np.testing.assert_allclose(shift, [[0, 0, 13], [0, 0, 23], [0, 0, 0]], atol=1e-9)
    np.testing.assert_array_equal(cropped.T_world_camera, whole.T_world_camera)
    neighbour = cropped.next
    assert neighbour is not None and neighbour.image.size() == (1216, 352)
    np.testing.assert_array_equal(neighbour.intrinsics, cropped.intrinsics)


def test_frames_are_listed_in_one_order_and_travel_as_a_folder_name(pristine: Path) -> None:
    source = KittiSource(KittiConfig(root=pristine, cameras=BOTH))
    refs = source.select("all")
    ids = [source_id(n, c) for n in range(fixture.NUM_FRAMES) for c in BOTH]
    assert [ref.source_id for ref in refs] == ids
    data = pickle.dumps(source)
    again: KittiSource = pickle.loads(data)
    assert len(data) < 1000 and again.select("all") == refs
    assert again.load(refs[3]).image.data == source.load(refs[3]).image.data
    assert not any(source.select(split) for split in ("train", "val", "test"))
    with pytest.raises(InvalidRequest, match="found split 'tests'"):
        source.select("tests")
