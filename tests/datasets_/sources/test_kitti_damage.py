"""Damaged, missing and hostile KITTI files: what is said, and that nothing else is lost."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.source import KittiSource
from support.sources import kitti as fixture
from support.sources.kitti import DATE, DRIVE, failures, load, raw, source_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fixture.build(tmp_path / "kitti")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _not_finite(path: Path) -> None:
    points = np.frombuffer(path.read_bytes(), "<f4").copy()
    points[5] = np.nan
    path.write_bytes(points.tobytes())


def _small(path: Path) -> None:
    path.write_bytes(fixture.encode_png(np.zeros((30, 40, 3), np.uint8)))


def _deep(path: Path) -> None:
    path.write_bytes(fixture.encode_depth_png(np.ones((72, 128), np.float32)))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _words(path: Path) -> None:
    path.write_text("49.0 eight 116 0 0 0")


def _pole(path: Path) -> None:
    path.write_text("90.0 8.4 116 0 0 0")


DAMAGE: dict[str, tuple[str, Callable[[Path], object], Reason]] = {
    "cut scan": ("velodyne_points/data/0000000002.bin", _cut, Reason.BAD_LIDAR),
    "scan with nan": ("velodyne_points/data/0000000002.bin", _not_finite, Reason.BAD_LIDAR),
    "cut image": ("image_02/data/0000000002.png", _cut, Reason.UNDECODABLE_IMAGE),
    "empty image": ("image_02/data/0000000002.png", _empty, Reason.EMPTY_FILE),
    "other size": ("image_02/data/0000000002.png", _small, Reason.SIZE_MISMATCH),
    "16 bits": ("image_02/data/0000000002.png", _deep, Reason.UNDECODABLE_IMAGE),
    "no number in oxts": ("oxts/data/0000000002.txt", _words, Reason.BAD_POSE),
    "oxts at the pole": ("oxts/data/0000000002.txt", _pole, Reason.BAD_POSE),
    "no oxts": ("oxts/data/0000000002.txt", Path.unlink, Reason.MISSING_FILE),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_to_one_file_costs_one_frame(folder: Path, what: str) -> None:
    file, damage, reason = DAMAGE[what]
    damage(raw(folder, file))
    source = KittiSource(KittiConfig(root=folder, neighbours=False))
    assert failures(source) == {source_id(2): reason}
    with pytest.raises(DamagedInput, match="0000000002"):
        load(source, 2)


def test_an_empty_scan_costs_the_depth_alone(folder: Path) -> None:
    _empty(raw(folder, "velodyne_points/data/0000000002.bin"))
    source = KittiSource(KittiConfig(root=folder))
    assert not failures(source)
    frame = load(source, 2)
    assert frame.lidar_depth_m is None and "empty LiDAR sweep: no depth" in frame.description
    assert "empty" not in load(source, 1).description


def test_a_damaged_neighbour_damages_the_triplet(folder: Path) -> None:
    _cut(raw(folder, "image_02/data/0000000000.png"))
    reason = Reason.UNDECODABLE_IMAGE
    assert failures(KittiSource(KittiConfig(root=folder))) == {
        source_id(0): reason,
        source_id(1): reason,
    }


def test_damage_to_the_first_packet_leaves_the_others_their_poses(folder: Path) -> None:
    before = load(KittiSource(KittiConfig(root=folder)), 3).next
    _words(raw(folder, "oxts/data/0000000000.txt"))
    source = KittiSource(KittiConfig(root=folder, neighbours=False))
    assert failures(source) == {source_id(0): Reason.BAD_POSE}
    after = load(KittiSource(KittiConfig(root=folder)), 3).next
    assert before is not None and after is not None  # the world has moved, the motion has not
    np.testing.assert_allclose(after.T_neighbour_camera, before.T_neighbour_camera, atol=1e-4)


def test_a_bad_line_of_timestamps_costs_its_frame(folder: Path) -> None:
    path = raw(folder, "image_02/timestamps.txt")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "2011-13-26 13:02:26", *lines[2:4]]))
    source = KittiSource(KittiConfig(root=folder, neighbours=False))
    assert failures(source) == {source_id(1): Reason.BAD_RECORD, source_id(4): Reason.BAD_RECORD}
    with pytest.raises(DamagedInput, match="line 2"):
        load(source, 1)


def test_times_that_go_back_cost_the_triplets(folder: Path) -> None:
    path = raw(folder, "image_02/timestamps.txt")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]))
    failed = failures(KittiSource(KittiConfig(root=folder)))
    assert failed == dict.fromkeys([source_id(1), source_id(2)], Reason.BAD_RECORD)


def test_a_timestamp_without_an_image_is_told_or_listed(folder: Path) -> None:
    raw(folder, "image_02/data/0000000003.png").unlink()
    with pytest.raises(BrokenSource, match=r"timestamps.txt.* for 1 of 5 frames: .*0000000003"):
        KittiSource(KittiConfig(root=folder))
    source = KittiSource(KittiConfig(root=folder, neighbours=False, skip_bad=True))
    assert failures(source) == {source_id(3): Reason.MISSING_FILE}
    with pytest.raises(DamagedInput, match="Copy the file from the original"):
        load(source, 3)
    triplets = KittiSource(KittiConfig(root=folder, skip_bad=True))
    assert failures(triplets).keys() == {source_id(n) for n in (2, 3, 4)}


def test_a_camera_that_a_drive_lacks_is_told(folder: Path) -> None:
    with pytest.raises(BrokenSource, match=f"{DRIVE}/image_00 is absent.*--skip-bad"):
        KittiSource(KittiConfig(root=folder, cameras=("image_00", "image_02")))
    source = KittiSource(KittiConfig(root=folder, cameras=("image_00", "image_02"), skip_bad=True))
    assert len(source.select("all")) == fixture.NUM_FRAMES


@pytest.mark.parametrize("name", ["calib_cam_to_cam", "calib_velo_to_cam", "calib_imu_to_velo"])
def test_a_damaged_calibration_is_told_or_costs_its_date(folder: Path, name: str) -> None:
    path = folder / DATE / f"{name}.txt"
    path.write_text(path.read_text().replace("R", "Q"))
    with pytest.raises(BrokenSource, match=f"calibration of {DATE}.*{name}.*expected 9"):
        KittiSource(KittiConfig(root=folder))
    reasons = set(failures(KittiSource(KittiConfig(root=folder, skip_bad=True))).values())
    assert reasons == {Reason.BAD_CALIBRATION}


def test_without_the_imus_place_there_are_no_poses(folder: Path) -> None:
    (folder / DATE / "calib_imu_to_velo.txt").unlink()
    with pytest.raises(DamagedInput, match="calib_imu_to_velo") as caught:
        load(KittiSource(KittiConfig(root=folder)), 0)
    assert caught.value.reason is Reason.BAD_CALIBRATION


def test_no_file_outside_the_root_is_opened(folder: Path, tmp_path: Path) -> None:
    image = raw(folder, "image_02/data/0000000002.png")
    image.rename(tmp_path / "outside.png")
    image.symlink_to(tmp_path / "outside.png")
    source = KittiSource(KittiConfig(root=folder, neighbours=False))
    assert failures(source) == {source_id(2): Reason.UNSAFE_PATH}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../etc/passwd", Reason.BAD_RECORD),
        ("x" * 5000, Reason.BAD_RECORD),
        (source_id(99), Reason.MISSING_FILE),
        (source_id(0, drive="2011_10_03_drive_0027_sync"), Reason.MISSING_FILE),
    ],
)
def test_a_frame_that_was_never_listed_is_refused(folder: Path, name: str, reason: Reason) -> None:
    source = KittiSource(KittiConfig(root=folder))
    with pytest.raises(DamagedInput) as caught:
        source.load(replace(source.select("all")[0], source_id=name))
    assert caught.value.reason is reason and len(str(caught.value)) < 400


def test_a_flipped_bit_is_found_by_the_checksums(folder: Path) -> None:
    scan = raw(folder, "velodyne_points/data/0000000002.bin")
    name = scan.relative_to(folder)
    (folder / "SHA256SUMS").write_text(f"{sha256(scan.read_bytes()).hexdigest()}  {name}\n")
    assert not failures(KittiSource(KittiConfig(root=folder)))
    data = bytearray(scan.read_bytes())
    data[1] ^= 1
    scan.write_bytes(data)
    assert failures(KittiSource(KittiConfig(root=folder))) == {
        source_id(2): Reason.CHECKSUM_MISMATCH
    }


def test_what_is_no_kitti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenSource, match="no KITTI drive"):
        KittiSource(KittiConfig(root=tmp_path))
    with pytest.raises(BrokenSource, match="no KITTI drive"):
        KittiSource(KittiConfig(root=tmp_path / "nowhere"))
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"layout": "odometry"}, "'raw', 'depth' or 'object'"),
        ({"ground_truth": "sgm"}, "'velodyne' or 'improved'"),
        ({"cameras": ["CAM_FRONT"]}, "'image_00', 'image_01', 'image_02' or 'image_03'"),
        ({"cameras": []}, "at least 1 item"),
    )
    for options, words in wrong:
        with pytest.raises(ValueError, match=words):
            KittiConfig(root=tmp_path, **options)


def test_images_too_small_for_the_kb_crop_fail_one_by_one(folder: Path) -> None:
    failed = failures(KittiSource(KittiConfig(root=folder, kb_crop=True)))
    assert len(failed) == fixture.NUM_FRAMES and set(failed.values()) == {Reason.SIZE_MISMATCH}


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("object benchmark", ("training/image_2", "training/velodyne", "training/calib")),
        ("object benchmark", ("testing/image_2", "testing/calib")),
        ("object benchmark", ("image_2", "image_3", "label_2", "velodyne")),
        ("scene flow benchmark", ("training/image_2", "training/image_3", "training/disp_occ_0")),
        ("odometry benchmark", ("sequences/00/image_2", "poses")),
        ("depth selection", ("val_selection_cropped/image",)),
    ],
)
def test_other_layouts_of_kitti_are_named(
    tmp_path: Path, layout: str, folders: tuple[str, ...]
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    reads = layout == "object benchmark"
    advice = "`--layout object` reads" if reads else "is not supported"
    words = f"no KITTI drive below {tmp_path}, but KITTI's {layout} layout, which {advice}"
    with pytest.raises(
        BrokenSource, match=rf"{words}; expected <date>/.*raw drives, alone or with"
    ):
        KittiSource(KittiConfig(root=tmp_path))
