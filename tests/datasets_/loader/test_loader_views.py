"""What a training sample has beside its picture on request: a stereo partner, thinned depth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.loader.augment import Augmentation
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.decode import most_bytes
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.datasets.loader.packing import fields_of, num_bytes_of
from nightrain.datasets.loader.sampler import Draw
from support.synthetic import INTRINSICS, SIZE, SyntheticSource, ingest_synthetic, recipe
from support.training import (
    STEREO_DEPTH_M,
    STEREO_INTRINSICS,
    T_STEREO,
    StereoSource,
    add_variants,
)

NUM_FRAMES = 6
RECIPE = recipe(Condition.NIGHT)
HALF = (SIZE[0] // 2, SIZE[1] // 2)
FLIP = Augmentation(
    brightness=0, contrast=0, saturation=0, hue=0, noise_probability=0, flip_probability=1.0
)
STEREO_KEYS = {"stereo", "stereo_intrinsics", "shown_intrinsics", "T_stereo_camera", "has_stereo"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames with stereo partners, the last without, and night variants of them."""
    root = tmp_path_factory.mktemp("views") / "dataset"
    ingest_synthetic(root, StereoSource(NUM_FRAMES))
    add_variants(root, RECIPE)
    return root


def samples(root: Path, **changes: Any) -> TrainingSet:
    values = {"input_size": SIZE, "loss_size": HALF, "augmentation": None}
    return TrainingSet(root, TrainingSetConfig.model_validate(values | changes))


def with_partner(dataset: TrainingSet) -> list[dict[str, Any]]:
    found = [s for s in (dataset[i] for i in range(NUM_FRAMES)) if bool(s["has_stereo"])]
    assert len(found) == NUM_FRAMES - 1
    return found


def seen_in_partner(sample: dict[str, Any], transform: np.ndarray) -> np.ndarray:
    """What the partner shows where the wall behind each column of the picture is; NaN outside."""
    shown, partner = (sample[f"{n}_intrinsics"].double().numpy() for n in ("shown", "stereo"))
    width = sample["image"].shape[-1]
    pixels = np.stack([np.arange(width), np.full(width, 7.0), np.ones(width)])  # (3, W)
    points_m = np.linalg.inv(shown) @ pixels * STEREO_DEPTH_M
    uvw = partner @ (transform[:3, :3] @ points_m + transform[:3, 3:])
    row = sample["stereo"][0, 7].double().numpy()
    return np.interp(uvw[0] / uvw[2], np.arange(width), row, left=np.nan, right=np.nan)


@pytest.mark.parametrize("size", [SIZE, (48, 30)])
@pytest.mark.parametrize("augmentation", [None, FLIP])
def test_the_partner_shows_what_the_geometry_says(
    root: Path, size: tuple[int, int], augmentation: Augmentation | None
) -> None:
    """Plain and mirrored, at an input size that is not that of the losses: an exact wall."""
    fields = {"input_size": size, "augmentation": augmentation, "p_clear": 1.0}
    for sample in with_partner(samples(root, stereo=True, **fields)):
        transform = sample["T_stereo_camera"].double().numpy()
        picture = sample["image"][0, 7].double().numpy()
        error = np.abs(seen_in_partner(sample, transform) - picture)
        assert np.isfinite(error).mean() > 0.8 and np.nanmean(error) < 0.012
        for wrong in (np.linalg.inv(transform), np.eye(4)):  # another side, no baseline
            assert np.nanmean(np.abs(seen_in_partner(sample, wrong) - picture)) > 0.08


def test_a_flip_mirrors_both_pictures_and_the_baseline(root: Path) -> None:
    plain = with_partner(samples(root, stereo=True))
    turned = with_partner(samples(root, stereo=True, augmentation=FLIP))
    for a, b in zip(plain, turned, strict=True):
        for name in ("stereo", "image", "clear_image"):
            assert torch.equal(b[name], a[name].flip(-1)), name
        np.testing.assert_allclose(a["T_stereo_camera"], T_STEREO, atol=1e-7)
        assert b["T_stereo_camera"][0, 3] == -T_STEREO[0, 3]
        for name, own in (("shown", INTRINSICS), ("stereo", STEREO_INTRINSICS)):
            np.testing.assert_allclose(a[f"{name}_intrinsics"], own, atol=1e-5)
            cx = SIZE[0] - 1 - own[0, 2]
            assert float(b[f"{name}_intrinsics"][0, 2]) == pytest.approx(cx, abs=1e-4)


def test_a_variant_comes_with_the_clear_partner(root: Path) -> None:
    clear = with_partner(samples(root, stereo=True))
    jitter = Augmentation(flip_probability=0.0)
    fields = {"recipes": (RECIPE.name,), "p_clear": 0.0, "augmentation": jitter}
    for a, b in zip(clear, with_partner(samples(root, stereo=True, **fields)), strict=True):
        assert b["is_variant"] and not torch.equal(a["image"], b["image"])
        for name in STEREO_KEYS:
            assert torch.equal(a[name], b[name]), name


def test_without_a_partner_there_is_a_black_one_that_divides_by_nothing(root: Path) -> None:
    every = (samples(root, stereo=True)[i] for i in range(NUM_FRAMES))
    alone: list[dict[str, Any]] = [s for s in every if not s["has_stereo"]]
    assert len(alone) == 1 and not alone[0]["stereo"].any()
    assert torch.equal(alone[0]["T_stereo_camera"], torch.eye(4))
    assert torch.equal(alone[0]["stereo_intrinsics"], alone[0]["shown_intrinsics"])


def test_stereo_goes_through_workers_and_is_absent_unless_asked_for(root: Path) -> None:
    assert not STEREO_KEYS & set(samples(root)[0])
    dataset = samples(root, stereo=True, augmentation=Augmentation())
    fields = fields_of(dataset.values(0), 2)
    assert num_bytes_of(fields) <= 2 * most_bytes(dataset.config)
    alone, beside = (
        list(make_loader(dataset, dataset.sampler(3), 2, num_workers=n)) for n in (0, 1)
    )
    for a, b in zip(alone, beside, strict=True):
        assert set(a) == set(b) and set(a) >= STEREO_KEYS
        for name, value in a.items():
            assert torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else True, name


@pytest.mark.parametrize("key", ["exact_depth_m", "lidar_depth_m"])
def test_depth_is_thinned_to_its_share_for_ever(root: Path, key: str) -> None:
    whole, tenth, less = (
        samples(root, exact_depth=True, loss_size=SIZE, sparse_share=share)
        for share in (None, 0.1, 0.05)
    )
    masks = []
    for index in range(NUM_FRAMES):
        depth_m, kept_m = whole[index][key], tenth[index][key]
        masks.append(kept_m > 0)
        assert torch.equal(kept_m[masks[-1]], depth_m[masks[-1]])
        other_run = samples(root, exact_depth=True, loss_size=SIZE, sparse_share=0.1)
        for draw in (Draw(0, 5, index), Draw(9, 0, index)):  # another epoch, another seed
            assert torch.equal(other_run[draw][key], kept_m)
        assert not ((less[index][key] > 0) & ~masks[-1]).any()
    valid = sum(int((whole[i][key] > 0).sum()) for i in range(NUM_FRAMES))
    assert sum(int(m.sum()) for m in masks) / valid == pytest.approx(0.1, abs=0.015)
    assert sum(int((less[i][key] > 0).sum()) for i in range(NUM_FRAMES)) / valid == pytest.approx(
        0.05, abs=0.01
    )
    assert not torch.equal(masks[0], masks[1])  # each frame has its own


def test_a_thinned_depth_turns_with_its_picture(root: Path) -> None:
    plain, turned = (samples(root, sparse_share=0.3, augmentation=a) for a in (None, FLIP))
    for index in range(NUM_FRAMES):
        assert torch.equal(turned[index]["lidar_depth_m"], plain[index]["lidar_depth_m"].flip(-1))


def test_a_share_of_all_changes_nothing(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(4))
    whole, all_of_it = (samples(tmp_path, sparse_share=share) for share in (None, 1.0))
    for index in range(4):
        assert torch.equal(whole[index]["lidar_depth_m"], all_of_it[index]["lidar_depth_m"])


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_that_makes_no_sense_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ValidationError):
        samples(tmp_path, sparse_share=share)


def test_intrinsics_of_the_input_are_those_of_its_size(root: Path) -> None:
    sample = samples(root, stereo=True, input_size=(48, 30))[0]
    expected = scaled_intrinsics(INTRINSICS, SIZE, (48, 30))
    np.testing.assert_allclose(sample["shown_intrinsics"], expected, atol=1e-5)
    assert tuple(sample["stereo"].shape) == (3, 30, 48)


def test_partners_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """A network with a stereo view would learn nothing from any."""
    ingest_synthetic(tmp_path / "dataset", SyntheticSource(num_frames=3))
    with pytest.raises(InvalidRequest, match=r"found no stereo partner of 3 frames in split"):
        samples(tmp_path / "dataset", stereo=True)
    assert len(samples(tmp_path / "dataset")) == 3
