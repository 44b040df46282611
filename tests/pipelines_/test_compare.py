"""Comparison of variants: near-duplicates against all pairs, spread of depth, recorded verdicts."""

from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.shards.reviews import read_reviews, remove_review
from nightrain.pipelines.compare import near_duplicates as module
from nightrain.pipelines.compare.depth_spread import SpreadOfFrames
from nightrain.pipelines.compare.job import CompareJob, Comparison, compare_variants
from nightrain.pipelines.compare.near_duplicates import near_duplicates, thumbnail
from nightrain.pipelines.engines.base import Request, Variant
from support.loader import NUM_FRAMES, RECIPE, config
from support.pictures import blocks
from support.synthetic import ingest_synthetic
from support.tiny_depth_models import save_teacher
from support.training import NeighbourSource, TintEngine, add_variants

RNG = np.random.default_rng(0)


class StuckEngine(TintEngine):
    """Engine that shows every frame as the same picture at night, and in fog ignores the seed."""

    def _variant(self, request: Request) -> Variant:
        if request.condition == Condition.NIGHT:
            return Variant(image=cv2.resize(blocks(99), request.image.shape[1::-1]) // 2)
        return Variant(image=request.image // 2 + 90)  # whatever the seed


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stuck") / "dataset"
    ingest_synthetic(root, NeighbourSource(NUM_FRAMES))
    add_variants(root, RECIPE, engine=StuckEngine())
    return root


def compared(root: Path, **fields: Any) -> Comparison:
    return compare_variants(CompareJob(dataset=root, recipe=RECIPE.name, **fields))


@pytest.mark.parametrize("block", [5, 1000])
def test_pairs_are_those_of_all_comparisons(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    values = RNG.uniform(0, 255, (40, 30)).astype(np.float32)
    for copy, of in ((7, 3), (22, 3), (39, 12)):
        values[copy] = values[of] + RNG.normal(0, 0.8, 30)
    names = [f"v{i}" for i in range(40)]
    found = {
        (p.first, p.second) for p in near_duplicates(names, np.arange(40), values, values, 2.0)
    }
    expected = {
        (names[i], names[j])
        for i, j in combinations(range(40), 2)
        if np.sqrt(((values[i] - values[j]) ** 2).mean()) < 2.0
    }
    assert found == set()  # the frames are as alike as their variants, so this is no fault
    clear = RNG.uniform(0, 255, (40, 30)).astype(np.float32)
    pairs = list(near_duplicates(names, np.arange(40), values, clear, 2.0))
    assert {(p.first, p.second) for p in pairs} == expected and len(expected) == 4
    assert {p.scope for p in pairs} == {"across frames"}


def test_grain_does_not_part_copies_and_a_shift_does() -> None:
    image = cv2.resize(blocks(1), (448, 256))
    grain = (image + RNG.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    shifted = np.roll(image, 36, axis=1)

    def apart(other: np.ndarray) -> float:
        return float(np.sqrt(np.mean((thumbnail(image) - thumbnail(other)) ** 2)))

    assert apart(grain) < 1.0 < 10 < apart(shifted)


def test_no_variants_have_no_pairs() -> None:
    nothing = np.zeros((0, 1), np.float32)
    assert not list(near_duplicates([], np.zeros(0, int), nothing, nothing, 2.0))


def test_a_stuck_engine_is_found_and_its_variants_are_left_out(stuck: Path) -> None:
    found = compared(stuck)
    assert (found.num_frames, found.num_variants, found.spread) == (10, 40, None)
    across = [p for p in found.near_duplicates if p.scope == "across frames"]
    within = [p for p in found.near_duplicates if p.scope == "within a frame"]
    assert len(within) == 20  # both conditions of ten frames, two variants each
    assert len(across) == 20 * 18 // 2  # each night with all of other frames
    assert found.num_rejected == 0 and not read_reviews(stuck)

    rejected = compared(stuck, reject=True)
    assert rejected.num_rejected == 20 + 10  # all nights, and the second fog of each frame
    reviews = read_reviews(stuck)
    assert {review.reviewer for review in reviews.values()} == {"compare-variants"}
    shown = TrainingSet(stuck, config(recipes=(RECIPE.name,))).index
    assert len(shown.variants) == 10 and shown.num_reviewed_out == 30
    again = compared(stuck, reject=True)
    assert (again.num_variants, again.near_duplicates, again.num_rejected) == (10, [], 0)
    for name in reviews:
        remove_review(stuck, name)


def test_depth_that_varies_is_measured_per_variant(stuck: Path, tmp_path: Path) -> None:
    found = compared(stuck, model=save_teacher(tmp_path / "teacher"), most_variation=1e-9)
    assert found.spread is not None and found.spread.num_frames == 10
    assert set(found.spread.by_condition) == {"night", "fog"}
    assert 0 < found.spread.mean_dv <= found.spread.max_piv
    assert len(found.unstable) == 40 and len(found.spread.worst) == 16
    assert max(found.unstable.values()) == pytest.approx(max(found.spread.worst.values()), abs=1e-4)
    with pytest.raises(InvalidRequest, match="--most-variation needs --model"):
        compared(stuck, most_variation=0.2)


def test_the_spread_is_that_of_the_formula() -> None:
    spread = SpreadOfFrames()
    assert spread.result(3) is None
    spread.add_frame(np.full((4, 6), 10.0), [("a", "fog", np.full((4, 6), 20.0))])
    # The mean map is 15 m: both vary by a third.
    spread.add_frame(np.full((4, 6), 10.0), [("b", "night", np.full((2, 3), 10.0))])
    result = spread.result(1)
    assert result is not None
    assert (result.mean_dv, result.max_piv) == pytest.approx((1 / 6, 1 / 6))
    assert result.by_condition == pytest.approx({"fog": 1 / 3, "night": 0})
    assert result.worst == {"a": 0.3333}
