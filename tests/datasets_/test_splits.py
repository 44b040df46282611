"""Splits: one rule for reading, training and evaluation, and what a selection left out."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.index import build_index, default_split_of
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.splits import Split, default_split, is_in_split, other_splits
from nightrain.depthmodel.evaluation.baselines import MedianDepth
from nightrain.depthmodel.evaluation.frames import EvaluationFrames
from nightrain.pipelines.inspect.dataset_card import write_card
from support.sources import kitti, nuscenes
from support.sources.kitti import DATE, DRIVE
from support.synthetic import SIZE, SyntheticSource, ingest_synthetic


@pytest.mark.parametrize("split", get_args(Split))
def test_a_name_selects_its_frames_and_all_selects_every_frame(split: Split) -> None:
    frames = ("train", "val", "test", "none", "train")
    kept = [s for s in frames if is_in_split(s, split)]
    assert kept == (list(frames) if split == "all" else [s for s in frames if s == split])
    assert len(kept) + sum(other_splits(frames, split).values()) == len(frames)


@pytest.mark.parametrize("usual", ["train", "val", "test"])
def test_frames_in_no_list_are_the_default_where_there_are_no_lists(usual: Split) -> None:
    assert default_split({"none"}, usual) == "none" and default_split({"none"}, "all") == "all"
    assert default_split({"none", "train"}, usual) == default_split({"none", "val"}, usual) == usual
    assert default_split(set(), usual) == usual


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Frames by split: 2 train, 3 val, 4 none."""
    root = tmp_path / "mixed"
    for split, number in (("train", 2), ("val", 3), ("none", 4)):
        ingest_synthetic(root, SyntheticSource(number, split=split, name=split))
    return root


@pytest.mark.parametrize(("split", "number"), [("train", 2), ("val", 3), ("none", 4), ("all", 9)])
def test_training_and_evaluation_select_the_same_frames(
    mixed: Path, split: Split, number: int
) -> None:
    config = TrainingSetConfig(split=split, input_size=SIZE, loss_size=SIZE, augmentation=None)
    trained = build_index(mixed, config).frames.columns["frame_id"].tolist()
    scored = EvaluationFrames(mixed, split=split, truth="exact").frame_ids
    assert len(trained) == number and trained == scored


def test_defaults_follow_the_lists_of_the_dataset(mixed: Path, tmp_path: Path) -> None:
    assert default_split_of(Manifest(mixed), "train") == "train"
    unlisted = tmp_path / "unlisted"
    ingest_synthetic(unlisted, SyntheticSource(4, split="none"))
    assert default_split_of(Manifest(unlisted), "val") == "none"
    assert MedianDepth.fit(unlisted, truth="exact").depth_m.max() > 1


def test_the_card_names_the_splits_of_the_rows(mixed: Path) -> None:
    card = write_card(mixed).read_text()
    found = [line.split()[-1] for line in card.splitlines() if "split: " in line]
    assert sorted(found) == ["none", "train", "val"]


def open_kitti(folder: Path) -> FrameSource:
    kitti.build(folder)
    return KittiConfig(root=folder).open()


def open_listed_kitti(folder: Path) -> FrameSource:
    kitti.build(folder)
    lists = folder / "lists"
    lists.mkdir()
    (lists / "train_files.txt").write_text(f"{DATE}/{DRIVE} 1 l\n{DATE}/{DRIVE} 2 l\n")
    (lists / "val_files.txt").write_text(f"{DATE}/{DRIVE} 3 l\n")
    return KittiConfig(root=folder, split_files=lists, skip_bad=True).open()


def open_nuscenes(folder: Path) -> FrameSource:
    return NuScenesConfig(root=nuscenes.build(folder).root).open()


@pytest.mark.parametrize("open_source", [open_kitti, open_listed_kitti, open_nuscenes])
@pytest.mark.parametrize("split", get_args(Split))
def test_every_frame_is_kept_or_left_out_for_a_reason(
    open_source: Callable[[Path], FrameSource], split: Split, tmp_path: Path
) -> None:
    source = open_source(tmp_path / "in")
    everything = source.select("all")
    assert source.left_out == {}
    kept = source.select(split)
    assert {ref.split for ref in kept} <= ({split} if split != "all" else set(get_args(Split)))
    assert len(kept) + sum(source.left_out.values()) == len(everything)
    assert all(number > 0 for number in source.left_out.values())


def test_reasons_of_md4alls_filter(tmp_path: Path) -> None:
    source = open_nuscenes(tmp_path / "in")
    kept = source.select("train")
    assert len(kept) == 2  # keyframe 3 of both cameras
    assert source.left_out == {
        "frames of split val": 18,
        "night frames: train uses clear frames only": 6,
        "frames at the start or end of a scene: train uses frames with both neighbours": 8,
        "frames of a standing car: train uses frames at 0.5 m/s or more": 2,
    }
