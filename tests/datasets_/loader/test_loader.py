"""What a training sample holds, and how it is mixed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.loader.augment import Augmentation
from nightrain.datasets.loader.corruptions import Corruptions
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.loader.sampler import Draw
from nightrain.datasets.shards.manifest import Manifest
from support.loader import (
    CONDITIONS,
    HALF,
    NUM_FRAMES,
    RECIPE,
    MixedSource,
    config,
    frame_rows,
    joined,
    make_root,
)
from support.synthetic import INTRINSICS, SIZE, SyntheticSource, ingest_synthetic, picture, recipe
from support.training import (
    T_NEXT,
    T_PREVIOUS,
    add_variants,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("training"))


def test_a_sample_holds_the_contract(root: Path) -> None:
    sample = joined(root, exact_depth=True)[3]
    (width, height), (w, h) = SIZE, HALF
    shapes = {name: tuple(v.shape) for name, v in sample.items() if isinstance(v, torch.Tensor)}
    assert shapes == {
        **{name: (3, height, width) for name in ("image", "clear_image")},
        **{name: (3, h, w) for name in ("target", "previous", "next")},
        **{name: (3, 3) for name in ("intrinsics", "previous_intrinsics", "next_intrinsics")},
        **{name: (4, 4) for name in ("T_previous_camera", "T_next_camera")},
        **{name: (h, w) for name in ("lidar_depth_m", "exact_depth_m")},
        **{name: (h, w) for name in ("label_depth_m", "label_confidence")},
        **{n: () for n in ("has_previous", "has_next", "is_variant", "condition", "index")},
    }
    for name, value in sample.items():
        if isinstance(value, torch.Tensor):
            kind = {"condition": torch.int64, "index": torch.int64}.get(name, torch.float32)
            kind = torch.bool if name.startswith(("has_", "is_")) else kind
            assert value.dtype == kind, name
    for name in ("image", "clear_image", "target", "label_confidence"):
        value = sample[name]
        assert isinstance(value, torch.Tensor) and value.min() >= 0 and value.max() <= 1
        assert value.max() > 0.3


def test_rows_are_joined_by_frame(root: Path) -> None:
    """Clear picture, geometry, label and variant of every sample are those of its frame."""
    dataset, rows = joined(root, p_clear=0.0, loss_size=SIZE), frame_rows(root)
    variants = {
        row["sample_id"]: row
        for table in Manifest(root).tables("variants/")
        for entry in Manifest(root).entries(table)
        for row in Manifest(root).reader(entry.rows).rows()
    }
    for index in range(len(dataset)):
        sample = dataset[index]
        row = rows[str(sample["frame_id"])]
        shown = variants[str(sample["sample_id"])]
        assert shown["frame_id"] == row["frame_id"]
        assert CONDITIONS[int(sample["condition"])] == shown["condition"]
        picture_of_frame = picture(int(row["source_id"])).astype(float) / 255
        error = np.abs(sample["clear_image"].permute(1, 2, 0).numpy() - picture_of_frame)
        assert error.mean() < 0.05  # a JPEG of that picture and of no other
        np.testing.assert_allclose(sample["intrinsics"], INTRINSICS, atol=1e-5)
        depth = np.linspace(2.0, 60.0, SIZE[0])
        np.testing.assert_allclose(sample["label_depth_m"][0], depth, atol=1 / 256)
        confidence = np.arange(SIZE[0])[::-1] * 4 / 255
        np.testing.assert_allclose(sample["label_confidence"][5], confidence, atol=1e-6)


def test_neighbours_and_the_frame_without_a_previous_one(root: Path) -> None:
    rows = frame_rows(root)
    for sample in (joined(root)[i] for i in range(NUM_FRAMES)):
        first = rows[str(sample["frame_id"])]["source_id"] == "0"
        assert bool(sample["has_previous"]) is not first and bool(sample["has_next"])
        expected = np.eye(4) if first else T_PREVIOUS
        np.testing.assert_allclose(sample["T_previous_camera"], expected, atol=1e-7)
        np.testing.assert_allclose(sample["T_next_camera"], T_NEXT, atol=1e-7)
        half = scaled_intrinsics(INTRINSICS, SIZE, HALF)
        for name in ("intrinsics", "previous_intrinsics", "next_intrinsics"):
            np.testing.assert_allclose(sample[name], half, atol=1e-6)


def test_only_the_network_input_is_augmented(root: Path) -> None:
    plain = joined(root)
    jittered = joined(root, augmentation=Augmentation(flip_probability=0.0))
    for index in range(NUM_FRAMES):
        for name, value in plain[index].items():
            other = jittered[index][name]
            if name == "image":
                assert not torch.equal(value, other)
            elif isinstance(value, torch.Tensor):
                assert torch.equal(value, other), name


def test_a_flip_turns_everything(root: Path) -> None:
    plain = joined(root, exact_depth=True)
    flips = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, noise_probability=0)
    turned = joined(root, exact_depth=True, augmentation=flips)
    count = 0
    for index in range(NUM_FRAMES):
        a, b = plain[index], turned[index]
        flipped = not torch.equal(a["label_depth_m"], b["label_depth_m"])
        count += flipped
        for name, value in a.items():
            if not isinstance(value, torch.Tensor) or value.dim() < 2 or "camera" in name:
                continue
            if name.endswith("intrinsics"):
                cx = HALF[0] - 1 - value[0, 2] if flipped else value[0, 2]
                assert b[name][0, 2] == pytest.approx(float(cx), abs=1e-5)
            else:
                expected = value.flip(-1) if flipped else value
                assert torch.equal(b[name], expected), name
        sign = -1 if flipped and bool(a["has_previous"]) else 1
        assert b["T_previous_camera"][0, 3] == sign * a["T_previous_camera"][0, 3]
    assert 0 < count < NUM_FRAMES


@pytest.mark.parametrize(
    ("p_clear", "clear"), [("uniform", 1 / 3), ("paper-literal", 2 / 3), (0.2, 0.2)]
)
def test_mixing_fractions(root: Path, p_clear: str | float, clear: float) -> None:
    """Both readings of the paper, then evenly over conditions and over a frame's variants."""
    dataset = joined(root, p_clear=p_clear)
    draws = [Draw(0, epoch, index) for epoch in range(300) for index in range(NUM_FRAMES)]
    chosen = [dataset.choose(draw) for draw in draws]
    assert np.mean([c is None for c in chosen]) == pytest.approx(clear, abs=0.03)
    shown = [c for c in chosen if isinstance(c, int)]
    conditions = [CONDITIONS[dataset.index.variant_condition[c]] for c in shown]
    for condition in (Condition.NIGHT, Condition.FOG):
        assert np.mean([c == condition for c in conditions]) == pytest.approx(0.5, abs=0.04)
    counts = np.bincount(shown, minlength=NUM_FRAMES * 4)
    assert len(counts) == NUM_FRAMES * 4 and counts.min() > 0.5 * counts.mean()


def test_conditions_are_even_where_one_has_more_variants(tmp_path: Path) -> None:
    """Two recipes make night, one of them fog: night is not shown more often for it."""
    ingest_synthetic(tmp_path, SyntheticSource(4))
    second = recipe(Condition.NIGHT, name="second", variants_per_frame=3)
    add_variants(tmp_path, RECIPE)
    add_variants(tmp_path, second)
    dataset = TrainingSet(tmp_path, config(recipes=(RECIPE.name, second.name), p_clear=0.0))
    draws = [Draw(0, epoch, index) for epoch in range(500) for index in range(4)]
    chosen = [c for draw in draws if isinstance(c := dataset.choose(draw), int)]
    night = CONDITIONS.index(Condition.NIGHT)
    assert np.mean(dataset.index.variant_condition[chosen] == night) == pytest.approx(0.5, abs=0.04)
    assert set(chosen) == set(range(4 * 7))


def test_a_frame_shows_only_the_conditions_it_has(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(8), frames_per_shard=4)
    night, fog = recipe(Condition.NIGHT), recipe(Condition.FOG, name="fog")
    add_variants(tmp_path, night)
    add_variants(tmp_path, fog, numbers=(0,))
    dataset = TrainingSet(tmp_path, config(recipes=(night.name, fog.name), p_clear=0.0))
    for index in range(8):
        shown = {dataset.choose(Draw(0, epoch, index)) for epoch in range(30)}
        assert None not in shown and len(shown) == (2 if index < 4 else 1)


def test_true_weather_is_shown_as_it_is(tmp_path: Path) -> None:
    source = MixedSource(6)
    ingest_synthetic(tmp_path, source)
    dataset = TrainingSet(tmp_path, config(conditions=("clear", "night")))
    shown = [dataset[i] for i in range(len(dataset))]
    assert len(dataset) == 6 and not any(s["is_variant"] for s in shown)
    assert sorted(int(s["condition"]) for s in shown) == [0, 0, 0, 1, 1, 1]
    assert len(TrainingSet(tmp_path, config(conditions=("night",)))) == 3


def test_corruptions_stand_in_for_variants(root: Path) -> None:
    dataset = TrainingSet(root, config(corruptions=Corruptions(), p_clear="uniform"))
    draws = [Draw(1, epoch, index) for epoch in range(400) for index in range(5)]
    chosen = [dataset.choose(draw) for draw in draws]
    for kind in (None, "darkening", "blur", "contrast-loss"):
        assert np.mean([c == kind for c in chosen]) == pytest.approx(0.25, abs=0.04)
    dark = draws[chosen.index("darkening")]
    sample = dataset[dark]
    assert sample["is_variant"] and int(sample["condition"]) == 1
    assert sample["image"].mean() < 0.65 * sample["clear_image"].mean()
    assert torch.equal(dataset[dark]["image"], sample["image"])
