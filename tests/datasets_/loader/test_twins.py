"""Recorded twins in place of variants: the same place and time under another condition."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.loader.sampler import Draw
from support.synthetic import ingest_synthetic
from support.usefulness import source

CONFIG = TrainingSetConfig(
    twins=True, input_size=(32, 16), loss_size=(32, 16), p_clear=0.0, augmentation=None
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("twins") / "dataset"
    ingest_synthetic(root, source(5, "train", Condition.CLEAR))
    ingest_synthetic(root, source(3, "train", Condition.NIGHT))
    ingest_synthetic(root, source(2, "train", Condition.RAIN))
    ingest_synthetic(root, source(5, "val", Condition.FOG))
    return root


def test_a_sample_shows_a_twin_with_everything_else_of_the_clear_frame(root: Path) -> None:
    samples = TrainingSet(root, CONFIG)
    clear = TrainingSet(root, CONFIG.model_copy(update={"twins": False}))
    twins = {condition: TrainingSet(root, only(condition)) for condition in ("night", "rain")}
    assert len(samples) == 5 and samples.index.conditions == (Condition.NIGHT, Condition.RAIN)
    assert np.diff(samples.index.variant_starts).tolist() == [2, 2, 1, 0, 0]
    shown = set()
    for draw in (Draw(seed, 0, 1) for seed in range(20)):
        sample, frame = samples[draw], clear[draw]
        name = list(Condition)[int(sample["condition"])].value
        other = twins[name][1]  # the same frame number of the twin's own drive
        shown.add(name)
        assert sample["frame_id"] == frame["frame_id"] != sample["sample_id"] == other["frame_id"]
        assert sample["is_variant"] and torch.equal(sample["image"], other["image"])
        for field in ("clear_image", "target", "intrinsics", "lidar_depth_m"):
            assert torch.equal(sample[field], frame[field])
    assert shown == {"night", "rain"}
    assert not samples[Draw(0, 0, 4)]["is_variant"]  # this place was driven on a clear day alone


def only(condition: str) -> TrainingSetConfig:
    update = {"twins": False, "conditions": (Condition(condition),)}
    return CONFIG.model_copy(update=update)


def test_the_first_drives_alone_are_nested_subsets(root: Path) -> None:
    """Frames, and their twins, of 1 to 5 drives; five are all of them, and six are too many."""
    found = []
    for count in range(1, 6):
        samples = TrainingSet(root, CONFIG.model_copy(update={"max_drives": count}))
        ids = samples.index.frames.columns["frame_id"].tolist()
        assert len(ids) == len(samples.index.variant_starts) - 1 == count
        found.append(set(ids))
    assert all(fewer < more for fewer, more in itertools.pairwise(found))
    with pytest.raises(InvalidRequest, match=r"has 5 drives in split 'train' .* max_drives 6"):
        TrainingSet(root, CONFIG.model_copy(update={"max_drives": 6}))


def test_a_condition_without_twins_is_refused(root: Path) -> None:
    for update, name in (
        ({"variant_conditions": (Condition.FOG,)}, "fog"),
        ({"split": "val", "conditions": (Condition.FOG,)}, "adverse"),
    ):
        config = TrainingSetConfig.model_validate(CONFIG.model_dump() | update)
        with pytest.raises(InvalidRequest, match=f"no recorded {name} twins in split"):
            TrainingSet(root, config)
    with pytest.raises(ValueError, match="twins replace variants"):
        TrainingSetConfig.model_validate(CONFIG.model_dump() | {"recipes": ("weather",)})
