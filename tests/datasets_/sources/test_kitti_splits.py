"""Split files, the Eigen protocol and KITTI-depth's layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.drives import FrameName
from nightrain.datasets.sources.kitti.source import KittiSource
from nightrain.datasets.sources.kitti.splits import EigenCounts, Listed, read_lists
from support.sources import kitti as fixture
from support.sources.kitti import DATE, DRIVE, OTHER_DRIVE, failures, source_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fixture.build(tmp_path / "kitti", drives=(DRIVE, OTHER_DRIVE))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists"


def line(number: int, drive: str = DRIVE, side: str = "l") -> str:
    return f"{DATE}/{drive} {number} {side}"


def line_with_depth(number: int, depth: bool, drive: str = DRIVE) -> str:
    name = f"{number:010d}.png"
    truth = f"{drive}/proj_depth/groundtruth/image_02/{name}" if depth else "None"
    return f"{DATE}/{drive}/image_02/data/{name} {truth} 721.5377"


def write(lists: Path, file: str, lines: Sequence[str]) -> None:
    (lists / file).write_text("\n".join([*lines, ""]))


def lidar_m(source: KittiSource, ref: FrameRef) -> np.ndarray:
    depth_m = source.load(ref).lidar_depth_m
    assert depth_m is not None
    return depth_m


def numbers(source: KittiSource, split: str) -> list[int]:
    return [int(ref.source_id[-10:]) for ref in source.select(split)]


def test_both_kinds_of_lines_are_read(lists: Path) -> None:
    write(lists, "train_files.txt", [line(3), line(4, side="r"), "", line(5, side="3")])
    depth = f"{DRIVE}/proj_depth/groundtruth/image_02/0000000007.png"
    short = f"{DRIVE}/image_02/data/0000000007.jpg {depth} 721.5"  # some lists lack the date
    write(lists, "eigen_test_files_with_gt.txt", [line_with_depth(6, False), short])
    assert read_lists(lists) == {
        FrameName(DRIVE, 3, "image_02"): Listed("train", None),
        FrameName(DRIVE, 4, "image_03"): Listed("train", None),
        FrameName(DRIVE, 5, "image_03"): Listed("train", None),
        FrameName(DRIVE, 6, "image_02"): Listed("test", False),
        FrameName(DRIVE, 7, "image_02"): Listed("test", True),
    }


@pytest.mark.parametrize(
    "bad",
    [
        f"{DATE}/{DRIVE} 3",
        f"{DATE}/{DRIVE} three l",
        f"{DATE}/{DRIVE} 3 x",
        f"{DATE}/{DRIVE} 99999999999 l",
        f"{DATE}/../{DRIVE} 3 l",
        f"../{DRIVE}/image_02/data/0000000003.png None 721",
        f"{DATE}/{DRIVE}/image_02/data/3.png None 721",
        f"{DATE}/{DRIVE}/image_02/data/0000000003.png elsewhere.png 721",
    ],
)
def test_a_line_that_is_none_is_named(lists: Path, bad: str) -> None:
    write(lists, "val_files.txt", [line(1), bad])
    with pytest.raises(BrokenSource, match=r"val_files\.txt, line 2: .*expected"):
        read_lists(lists)


def test_a_frame_has_one_split(lists: Path) -> None:
    write(lists, "test_files.txt", [line(1), line(2)])
    write(lists, "eigen_test_files_with_gt.txt", [line_with_depth(2, True)])
    assert read_lists(lists)[FrameName(DRIVE, 2, "image_02")].has_depth is True
    write(lists, "train_files.txt", [line(2)])
    with pytest.raises(BrokenSource, match=r"0000000002 into train, another list into test"):
        read_lists(lists)


def test_a_folder_without_lists_is_told(lists: Path, folder: Path) -> None:
    write(lists, "readme.txt", ["nothing"])
    with pytest.raises(BrokenSource, match="no split file"):
        KittiSource(KittiConfig(root=folder, split_files=lists))
    (lists / "train_files.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenSource, match=r"train_files\.txt cannot be read"):
        KittiSource(KittiConfig(root=folder, split_files=lists))


def test_splits_are_those_of_the_lists(folder: Path, lists: Path) -> None:
    write(lists, "train_files.txt", [line(0), line(3), line(2, side="r")])
    write(lists, "val_files.txt", [line(2)])
    write(lists, "test_files.txt", [line(1, OTHER_DRIVE)])
    source = KittiSource(KittiConfig(root=folder, split_files=lists))
    assert [numbers(source, split) for split in ("train", "val", "test")] == [[0, 3], [2], [1]]
    assert {ref.scene_id for ref in source.select("test")} == {OTHER_DRIVE}
    everything = source.select("all")
    assert len(everything) == 10
    assert [ref.split for ref in everything[:5]] == ["train", "none", "val", "train", "none"]
    both = KittiSource(
        KittiConfig(root=folder, split_files=lists, cameras=("image_02", "image_03"))
    )
    assert [r.source_id[-19:] for r in both.select("train")][1] == "image_03/0000000002"


def test_lines_that_name_absent_frames_are_told_or_listed(folder: Path, lists: Path) -> None:
    absent = [source_id(70), source_id(71), source_id(3, drive=f"{DATE}_drive_0099_sync")]
    write(lists, "train_files.txt", [line(0), line(70), line(71)])
    write(lists, "test_files.txt", [line(3, f"{DATE}_drive_0099_sync")])
    with pytest.raises(BrokenSource, match=r"split file names an image.* 3 of 13 .*0000000070"):
        KittiSource(KittiConfig(root=folder, split_files=lists))
    source = KittiSource(
        KittiConfig(root=folder, split_files=lists, skip_bad=True, neighbours=False)
    )
    assert numbers(source, "train") == [0, 70, 71] and numbers(source, "test") == [3]
    assert failures(source) == dict.fromkeys(absent, Reason.MISSING_FILE)


def test_a_frame_of_a_date_without_calibration_fails_alone(folder: Path, lists: Path) -> None:
    write(lists, "test_files.txt", ["2011_10_03/2011_10_03_drive_0027_sync 5 l"])
    source = KittiSource(
        KittiConfig(root=folder, split_files=lists, skip_bad=True, neighbours=False)
    )
    assert len(failures(source)) == 1


def test_improved_ground_truth_is_exact_and_leaves_out_what_has_none(
    folder: Path, lists: Path
) -> None:
    fixture.write_depth_maps(folder, [1], part="val")
    fixture.write_depth_maps(folder, [2, 3], part="train")
    lines = [line_with_depth(0, False), *(line_with_depth(n, True) for n in (1, 3))]
    write(lists, "eigen_test_files_with_gt.txt", lines)
    source = KittiSource(KittiConfig(root=folder, split_files=lists, ground_truth="improved"))
    assert numbers(source, "test") == [1, 3]
    assert numbers(source, "all")[:4] == [1, 2, 3, 4]  # 0 is nowhere
    assert source.eigen_counts == EigenCounts(3, 2) and not EigenCounts(3, 2).as_published
    assert any("1 listed frames without improved" in note for note in source.notes)
    assert any("3 test frames; Eigen's have 697. 2 have" in note for note in source.notes)
    for ref in source.select("test"):
        expected_m = fixture.exact_depth_m(int(ref.source_id[-10:]), fixture.SIZE)
        np.testing.assert_array_equal(lidar_m(source, ref), expected_m)
    assert source.load(source.select("all")[3]).lidar_depth_m is None
    plain = KittiSource(KittiConfig(root=folder, split_files=lists))
    assert numbers(plain, "test") == [0, 1, 3] and plain.eigen_counts == EigenCounts(3, None)


@pytest.mark.parametrize("part", ["train", "val", "", DATE])
def test_depth_maps_are_found_where_copies_were_merged_too(folder: Path, part: str) -> None:
    fixture.write_depth_maps(folder, [2], part=part)
    source = KittiSource(KittiConfig(root=folder, ground_truth="improved"))
    expected_m = fixture.exact_depth_m(2, fixture.SIZE)
    np.testing.assert_array_equal(lidar_m(source, source.select("all")[2]), expected_m)
    assert {
        ref.split
        for ref in KittiSource(
            KittiConfig(root=folder, layout="depth", ground_truth="improved")
        ).select("all")
    } == {part if part in ("train", "val") else "none"}


def test_a_list_without_that_column_leaves_out_what_its_drive_lacks(
    folder: Path, lists: Path
) -> None:
    fixture.write_depth_maps(folder, [1, 2])
    write(lists, "test_files.txt", [line(n) for n in range(4)])
    source = KittiSource(KittiConfig(root=folder, split_files=lists, ground_truth="improved"))
    assert numbers(source, "test") == [1, 2] and source.eigen_counts == EigenCounts(4, 2)
    write(lists, "val_files.txt", [line(1, OTHER_DRIVE)])  # a drive without any depth map
    with pytest.raises(BrokenSource, match="no depth map for 1 of"):
        KittiSource(KittiConfig(root=folder, split_files=lists, ground_truth="improved"))


def test_named_ground_truth_that_is_absent_is_told_or_listed(folder: Path, lists: Path) -> None:
    fixture.write_depth_maps(folder, [1])
    lines = [line_with_depth(1, True), line_with_depth(2, True)]
    write(lists, "eigen_test_files_with_gt.txt", lines)
    with pytest.raises(BrokenSource, match=r"no depth map for 1 of 10 frames: .*0000000002"):
        KittiSource(KittiConfig(root=folder, split_files=lists, ground_truth="improved"))
    source = KittiSource(
        KittiConfig(root=folder, split_files=lists, ground_truth="improved", skip_bad=True)
    )
    assert failures(source) == {source_id(2): Reason.MISSING_FILE}  # its neighbours are whole


def test_the_published_counts_are_recognised(folder: Path, lists: Path) -> None:
    drives = [f"{DATE}_drive_{n:04d}_sync" for n in range(100, 128)]
    named = [(number, drive) for number in range(25) for drive in drives][:697]
    lines = [line_with_depth(number, i >= 45, drive) for i, (number, drive) in enumerate(named)]
    write(lists, "eigen_test_files_with_gt.txt", lines)
    source = KittiSource(
        KittiConfig(root=folder, split_files=lists, ground_truth="improved", skip_bad=True)
    )
    assert source.eigen_counts == EigenCounts(697, 652) and EigenCounts(697, 652).as_published
    assert len(source.select("test")) == 652
    assert not any("Eigen" in note for note in source.notes)


@pytest.mark.parametrize("ground_truth", ["improved", "velodyne"])
def test_the_depth_layout_lists_what_has_a_depth_map(folder: Path, ground_truth: Any) -> None:
    kind = {"improved": "groundtruth", "velodyne": "velodyne_raw"}[ground_truth]
    fixture.write_depth_maps(folder, [1, 2], kind, "train")
    fixture.write_depth_maps(folder, [3], kind, "val")
    source = KittiSource(KittiConfig(root=folder, layout="depth", ground_truth=ground_truth))
    assert [numbers(source, split) for split in ("train", "val", "test")] == [[1, 2], [3], []]
    assert numbers(source, "all") == [1, 2, 3]
    ref = source.select("val")[0]
    expected_m = fixture.exact_depth_m(3, fixture.SIZE)
    np.testing.assert_array_equal(lidar_m(source, ref), expected_m)
    frame = source.load(ref)
    assert frame.previous is not None and frame.next is not None  # of the raw drive beside it


def test_the_depth_layout_names_what_it_misses(folder: Path) -> None:
    with pytest.raises(BrokenSource, match="no depth map below"):
        KittiSource(KittiConfig(root=folder, layout="depth", ground_truth="improved"))
    fixture.write_depth_maps(folder, [2, 40])
    with pytest.raises(BrokenSource, match="depth map, but no image for 1 of 2 frames"):
        KittiSource(KittiConfig(root=folder, layout="depth", ground_truth="improved"))
    options: dict[str, Any] = {"layout": "depth", "ground_truth": "improved", "skip_bad": True}
    assert failures(KittiSource(KittiConfig(root=folder, **options))) == {
        source_id(40): Reason.MISSING_FILE
    }


def test_a_damaged_depth_map_costs_its_frame(folder: Path) -> None:
    fixture.write_depth_maps(folder, [1, 2, 3])
    maps = folder / "train" / DRIVE / "proj_depth" / "groundtruth" / "image_02"
    (maps / "0000000001.png").write_bytes((maps / "0000000001.png").read_bytes()[:-20])
    small = fixture.encode_depth_png(np.ones((4, 4), np.float32))
    (maps / "0000000002.png").write_bytes(small)
    source = KittiSource(KittiConfig(root=folder, layout="depth", ground_truth="improved"))
    expected = {source_id(1): Reason.UNDECODABLE_IMAGE, source_id(2): Reason.SIZE_MISMATCH}
    assert failures(source) == expected
    with pytest.raises(DamagedInput, match=r"depth map .*0000000001\.png"):
        source.load(source.select("all")[0])
