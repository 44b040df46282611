"""Splits of a study, stability of a predictor, and zero-shot scores of a foundation model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import DPTImageProcessor

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.depthmodel.evaluation.metrics import aligned_depth
from nightrain.depthmodel.transformers_depth import foundation_weights, load_foundation
from nightrain.pipelines.usefulness.foundation import foundation_evaluation
from nightrain.pipelines.usefulness.plan import SETTINGS
from nightrain.pipelines.usefulness.splits import StudySplits, study_splits
from nightrain.pipelines.usefulness.stability import measure_stability, variation
from support.synthetic import ingest_synthetic, recipe
from support.tiny_depth_networks import save_dpt
from support.training import add_variants
from support.usefulness import SHOWN, source

TEST_SETTINGS = SETTINGS.model_copy(update={"split": "test"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test frames of three places: two with a twin at night, two variants of each clear frame."""
    root = tmp_path_factory.mktemp("scores") / "dataset"
    ingest_synthetic(root, source(3, "test", Condition.CLEAR))
    ingest_synthetic(root, source(2, "test", Condition.NIGHT))
    add_variants(root, recipe(*SHOWN), (0,))
    return root


# Splits


@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        (("train", "val", "test"), None, StudySplits("test", "val")),
        (("train", "val", "test"), "val", StudySplits("val", None)),
        (("train", "val"), None, StudySplits("val", None)),
        (("train", "test"), None, StudySplits("test", None)),
    ],
)
def test_what_is_selected_on_val_is_reported_on_test(
    tmp_path: Path, splits: tuple[str, ...], wanted: str, expected: StudySplits
) -> None:
    for split in splits:
        ingest_synthetic(tmp_path / "data", source(1, split, Condition.CLEAR))
    assert study_splits(Manifest(tmp_path / "data"), wanted) == expected  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("pair", [("val", "test"), ("train", "test"), ("train", "val")])
def test_splits_that_share_a_place_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    place_of = {"train": "a", "val": "b", "test": "c"}
    place_of[pair[1]] = place_of[pair[0]]
    for split, place in place_of.items():
        frames = source(1, split, Condition.CLEAR if split == "train" else Condition.NIGHT, place)
        ingest_synthetic(tmp_path / "data", frames)
    match = rf"has 1 place in {pair[0]} and in {pair[1]} \([abc]-place-0\); a study needs train, "
    with pytest.raises(InvalidRequest, match=match):
        study_splits(Manifest(tmp_path / "data"), None)


# Stability


def test_variation_is_that_of_the_formula() -> None:
    one, other = np.full((2, 3), 8.0), np.full((2, 3), 12.0)
    assert variation([one, other]) == pytest.approx([0.2, 0.2])
    assert variation([one, one, np.full((2, 3), 14.0)]) == pytest.approx([0.2, 0.2, 0.4])


def test_stability_is_over_a_clear_frame_its_twins_and_its_variants(root: Path) -> None:
    def brightness(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.full((4, 6), 1.0 + float(image.mean())) for image in images]

    alone = measure_stability(brightness, root, "test", ())
    assert (alone.num_geometries, alone.num_images) == (2, 4)
    folder = Manifest(root).tables("variants/")[0].split("/")[1]
    both = measure_stability(brightness, root, "test", (folder, "removed-12345678"))
    assert both.num_geometries == 3 and both.num_images == 3 + 2 + 3
    assert both.mean_dv is not None and both.max_piv is not None
    assert 0 < both.mean_dv < both.max_piv
    constant = measure_stability(lambda images: [np.ones((4, 6))] * len(images), root, "test", ())
    assert (constant.mean_dv, constant.max_piv) == (0.0, 0.0)
    assert measure_stability(brightness, root, "val", ()).mean_dv is None


# Foundation models


def test_alignment_finds_scale_and_shift_of_inverse_depth() -> None:
    truth_m = np.linspace(2.0, 40.0, 24).reshape(4, 6)
    scored = truth_m < 30
    found = aligned_depth(7.0 / truth_m - 3.0, truth_m, 80.0, scored)
    assert found == pytest.approx(truth_m, rel=1e-5)
    flat = aligned_depth(np.zeros((4, 6)), truth_m, 80.0, scored)
    assert flat == pytest.approx(np.full((4, 6), 1 / np.mean(1 / truth_m[scored])))
    assert aligned_depth(-1.0 / truth_m, truth_m, 80.0, scored).max() <= 80.0


def test_a_foundation_model_is_scored_once_on_the_frames_of_the_study(
    root: Path, tmp_path: Path
) -> None:
    folder = save_dpt(tmp_path / "tiny-dpt")
    found = foundation_evaluation(folder, root, tmp_path / "out", TEST_SETTINGS)
    assert found.model == "tiny-dpt (aligned in scale and shift)"
    assert len(found.images) == 5 and found.score("night").num_images == 2
    times = [(p, p.stat().st_mtime_ns) for p in sorted((tmp_path / "out").iterdir())]
    again = foundation_evaluation(folder, root, tmp_path / "out", TEST_SETTINGS)
    assert again == found
    assert times == [(p, p.stat().st_mtime_ns) for p in sorted((tmp_path / "out").iterdir())]
    from nightrain.pipelines.depth.evaluation_folder import evaluate_into

    constant = evaluate_into(tmp_path / "c", "median-depth", training(root), TEST_SETTINGS)
    assert constant.frames_sha256 == found.frames_sha256  # the same frames, so they compare


def training(root: Path) -> Path:
    """The dataset with a train frame, from which a median depth can be computed."""
    ingest_synthetic(root, source(1, "train", Condition.CLEAR))
    return root


def test_a_folder_without_a_depth_network_is_one_sentence(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match=r"empty holds no config.json and no prep"):
        foundation_weights(tmp_path / "empty")
    folder = save_dpt(tmp_path / "other")
    DPTImageProcessor(size={"height": 32, "width": 64}).save_pretrained(folder)
    with pytest.raises(InvalidRequest, match=r"cannot predict the depth of .* belong to it\?"):
        foundation_evaluation(folder, root, tmp_path / "out", TEST_SETTINGS)
    text = (folder / "config.json").read_text()
    config = text.replace('"add_projection": false', '"add_projection": true')
    (folder / "config.json").write_text(config)
    with pytest.raises(InvalidRequest, match=r"lacks \d tensors of its network, the first head"):
        load_foundation(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InvalidRequest, match="is not a depth network of transformers"):
        load_foundation(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidRequest, match="safetensors"):
        foundation_weights(folder)
