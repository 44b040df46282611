"""KITTI's object layout against the truth of the raw layout, which describes the same world."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightrain.datasets.errors import BrokenSource, InvalidRequest, Reason
from nightrain.datasets.frame import Frame
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.object_source import KittiObjectSource
from support.described_folder import put
from support.sources import kitti as fixture
from support.sources.kitti import CAMERAS, DRIVE, failures

LABELS = """\
Car 0.00 0 1.5 10.0 10.0 40.0 30.0 1.5 1.6 3.9 1.0 1.6 20.0 1.5
Car 0.00 1 1.5 50.0 10.0 60.0 30.0 1.5 1.6 3.9 1.0 1.6 20.0 1.5
Car 0.00 2 1.5 10.0 10.0 40.0 30.0 1.5 1.6 3.9 1.0 1.6 20.0 1.5
Person_sitting 0.00 3 1.5 10.0 10.0 40.0 30.0 1.5 1.6 3.9 1.0 1.6 20.0 1.5
Cyclist 0.00 0 1.5 10.0 10.0 11.0 12.0 1.5 1.6 3.9 1.0 1.6 20.0 1.5
DontCare -1 -1 -10 10.0 10.0 40.0 30.0 -1 -1 -1 -1000 -1000 -1000 -10
"""


def calibration() -> str:
    """A frame's calib.txt of the cameras and the LiDAR of the raw layout."""
    K = fixture.intrinsics()
    shifts = {"2": CAMERAS[0].shift_m, "3": CAMERAS[1].shift_m}
    entries = {f"P{n}": np.column_stack([K, K @ np.array(shift)]) for n, shift in shifts.items()}
    entries["R0_rect"] = fixture.T_RECT_CAM0[:3, :3]
    entries["Tr_velo_to_cam"] = fixture.T_CAM0_VELO[:3]
    entries["Tr_imu_to_velo"] = fixture.T_VELO_IMU[:3]
    lines = [f"{k}: " + " ".join(f"{x:.12e}" for x in np.ravel(v)) for k, v in entries.items()]
    return "\n".join([*lines, "", ""])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training frames, of which the last has no scan, and a testing frame."""
    for part, numbers in (("training", (0, 1, 2)), ("testing", (3,))):
        for number in numbers:
            for camera in CAMERAS:
                data = fixture.encode_png(fixture.picture(DRIVE, camera.name, number))
                put(tmp_path / f"{part}/image_{camera.name[-1]}/{number:06d}.png", data)
            put(tmp_path / f"{part}/calib/{number:06d}.txt", calibration().encode())
            if number != 2:
                put(tmp_path / f"{part}/velodyne/{number:06d}.bin", fixture.scan(number))
    put(tmp_path / "training/label_2/000000.txt", LABELS.encode())
    put(tmp_path / "training/label_2/000001.txt", b"")
    return tmp_path


def opened(folder: Path, **options: Any) -> FrameSource:
    return KittiConfig(root=folder, layout="object", **options).open()


def load(source: FrameSource, name: str) -> Frame:
    return source.load(next(ref for ref in source.select("all") if ref.source_id == name))


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.name)
def test_a_frame_is_that_of_the_raw_drive(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, camera: fixture.Camera
) -> None:
    raw = KittiConfig(root=fixture.build(tmp_path_factory.mktemp("raw")), cameras=(camera.name,))
    expected = fixture.load(raw.open(), 1, camera.name)
    source = opened(folder, cameras=(camera.name,))
    frame = load(source, f"training/image_{camera.name[-1]}/000001")
    assert frame.image.data == expected.image.data and frame.camera == camera.name
    np.testing.assert_allclose(frame.intrinsics, expected.intrinsics, rtol=1e-8)
    assert frame.T_ego_camera is not None and expected.T_ego_camera is not None
    np.testing.assert_allclose(frame.T_ego_camera, expected.T_ego_camera, atol=1e-7)
    assert frame.lidar_depth_m is not None and expected.lidar_depth_m is not None
    np.testing.assert_allclose(frame.lidar_depth_m, expected.lidar_depth_m, atol=1e-5)
    assert (frame.lidar_depth_m > 0).sum() > 100
    assert frame.previous is None and frame.source_dataset == "kitti"
    assert type(source) is KittiObjectSource
    assert pickle.loads(pickle.dumps(source)).select("all") == source.select("all")


def test_labels_are_counted_by_plain_name(folder: Path) -> None:
    source = opened(folder)
    # Neither the largely occluded car, nor the small cyclist, nor DontCare.
    assert load(source, "training/image_2/000000").objects == {"car": 2, "sitting person": 1}
    assert load(source, "training/image_2/000001").objects == {}  # labelled: nothing
    assert load(source, "training/image_2/000002").objects is None  # not labelled
    put(folder / "training/label_2/000000.txt", b"Car 0.0 0")
    assert load(source, "training/image_2/000000").objects is None


def test_splits_and_scenes(folder: Path, tmp_path: Path) -> None:
    refs = opened(folder).select("all")
    assert [(r.source_id[-6:], r.split) for r in refs] == [
        *(("000000", "none"), ("000001", "none"), ("000002", "none")),
        ("000003", "test"),
    ]
    assert len({r.scene_id for r in refs}) == len({r.frame_id for r in refs}) == 4
    put(tmp_path / "lists/train.txt", b"000000\n000002\n")
    put(tmp_path / "lists/val.txt", b"000001\r\n000099\r\n")
    source = opened(folder, split_files=tmp_path / "lists")
    assert [r.source_id[-6:] for r in source.select("train")] == ["000000", "000002"]
    assert [r.source_id[-6:] for r in source.select("val")] == ["000001"]
    assert any("1 of 4 listed frames have no image here" in note for note in source.notes)
    put(tmp_path / "lists/val.txt", b"000002\n")
    with pytest.raises(BrokenSource, match="a frame has one split"):
        opened(folder, split_files=tmp_path / "lists")
    put(tmp_path / "lists/val.txt", b"2\n")
    with pytest.raises(BrokenSource, match="expected six digits"):
        opened(folder, split_files=tmp_path / "lists")


def test_the_stereo_pair_is_a_shift_by_the_baseline(folder: Path) -> None:
    pair = load(opened(folder, stereo=True), "training/image_2/000000").stereo
    assert pair is not None and pair.source_id == "training/image_3/000000"
    expected = np.eye(4)
    expected[:3, 3] = np.array(CAMERAS[1].shift_m) - CAMERAS[0].shift_m
    np.testing.assert_allclose(pair.T_neighbour_camera, expected, atol=1e-7)
    (folder / "training/image_3/000000.png").unlink()
    assert load(opened(folder, stereo=True), "training/image_2/000000").stereo is None


def test_the_crop_moves_picture_depth_and_intrinsics(folder: Path) -> None:
    size = fixture.FULL_SIZE
    data = fixture.encode_png(fixture.picture(DRIVE, "image_02", 0, size))
    put(folder / "training/image_2/000000.png", data)
    whole = load(opened(folder), "training/image_2/000000")
    frame = load(opened(folder, kb_crop=True), "training/image_2/000000")
    assert frame.image.size() == (1216, 352)
    assert frame.lidar_depth_m is not None and frame.lidar_depth_m.shape == (352, 1216)
    np.testing.assert_allclose(
        whole.intrinsics - frame.intrinsics, [[0, 0, 13], [0, 0, 23], [0] * 3]
    )
    assert failures(opened(folder, kb_crop=True)) == {
        f"{part}/image_2/00000{n}": Reason.SIZE_MISMATCH
        for part, n in (("training", 1), ("training", 2), ("testing", 3))
    }


def test_a_frame_without_a_scan_has_no_depth(folder: Path) -> None:
    assert load(opened(folder), "training/image_2/000002").lidar_depth_m is None


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("calib/000000.txt", None, Reason.MISSING_FILE),
        ("calib/000000.txt", calibration().replace("R0_rect", "R1").encode(), None),
        ("calib/000000.txt", calibration().replace("P2: ", "P2: x").encode(), None),
        ("velodyne/000000.bin", fixture.scan(0)[:-3], Reason.BAD_LIDAR),
        ("image_2/000000.png", b"no picture", Reason.UNDECODABLE_IMAGE),
        ("image_2/000000.png", b"", Reason.EMPTY_FILE),
    ],
)
def test_damage_fails_alone(
    folder: Path, file: str, data: bytes | None, reason: Reason | None
) -> None:
    path = folder / "training" / file
    path.unlink() if data is None else path.write_bytes(data)
    expected = {"training/image_2/000000": reason or Reason.BAD_CALIBRATION}
    assert failures(opened(folder)) == expected


def test_what_the_benchmark_lacks_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has no camera image_00"):
        opened(folder, cameras=("image_00",))
    with pytest.raises(InvalidRequest, match="has no --ground-truth improved"):
        opened(folder, ground_truth="improved")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BrokenSource, match=r"expected training/image_2/000000\.png"):
        opened(tmp_path / "empty")
