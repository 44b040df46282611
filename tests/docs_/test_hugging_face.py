"""Hugging Face `datasets` reads what is generated, and finds images, depth maps and columns."""

import random
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Image, load_dataset

from nightrain.datasets.shards import schema
from nightrain.pipelines.inspect.dataset_card import number_patterns, write_card
from support.synthetic import SIZE, SyntheticSource, ground_depth_m, ingest_synthetic


@pytest.fixture
def load(tmp_path: Path, generated: Path):
    """Load the shards of a pattern below the dataset, with a cache of its own."""

    def read(pattern: str) -> Dataset:
        return load_dataset(
            "parquet",
            data_files=str(generated / pattern),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )

    return read


def test_frames_load_with_every_column_and_images_that_decode(load) -> None:
    frames = load("frames/*.parquet")
    assert frames.num_rows == 4 and frames.column_names == schema.FRAMES.names
    for name in ("image", "lidar_depth", "exact_depth", "previous_image", "stereo_image"):
        assert isinstance(frames.features[name], Image), name
    row = frames[0]
    assert row["image"].size == SIZE and row["image"].mode == "RGB"
    assert row["previous_image"] is None
    depth_m = np.asarray(row["exact_depth"], np.float32) / row["depth_scale"]
    true_m = np.where(np.isfinite(ground_depth_m()), ground_depth_m(), 0)
    np.testing.assert_allclose(depth_m, true_m, atol=0.5 / row["depth_scale"])
    assert len(row["intrinsics"]) == 9 and len(row["T_world_camera"]) == 16


def test_variants_load_with_every_column_and_join_their_frames(load) -> None:
    frames, variants = load("frames/*.parquet"), load("variants/*/*/*.parquet")
    assert variants.num_rows == 2 * 4 and variants.column_names == schema.VARIANTS.names
    assert set(variants["condition"]) == {"night", "rain"}
    assert set(variants["frame_id"]) == set(frames["frame_id"])
    night = next(row for row in variants if row["condition"] == "night")
    assert night["image"].size == SIZE
    clear = next(row for row in frames if row["frame_id"] == night["frame_id"])
    assert np.asarray(night["image"]).mean() < 0.7 * np.asarray(clear["image"]).mean()
    assert night["physical"]["ambient_lux"] > 0 and night["physical"]["visibility_m"] is None
    assert night["intrinsics"] == clear["intrinsics"]


def test_the_dataset_card_names_configurations_that_load(generated: Path, tmp_path: Path) -> None:
    cache, name = str(tmp_path / "cache"), "weather-demo-rain"
    rain = load_dataset(str(generated), name, split="train", cache_dir=cache)
    assert isinstance(rain, Dataset) and set(rain["condition"]) == {"rain"}


def test_a_table_of_several_splits_loads_by_patterns(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    for number, split in enumerate(("train", "val", "test", "train")):
        source = SyntheticSource(num_frames=25, split=split, name=f"s{number}")
        ingest_synthetic(root, source, 2)
    card = write_card(root).read_text()
    assert card.count(".parquet") < 10 < len(list((root / "frames").iterdir()))
    for split, count in (("train", 50), ("val", 25), ("test", 25)):
        frames = load_dataset(str(root), "frames", split=split, cache_dir=str(tmp_path / "cache"))
        assert isinstance(frames, Dataset) and frames.num_rows == count
        assert set(frames["split"]) == {split} and len(set(frames["frame_id"])) == count


def test_patterns_match_the_numbers_of_a_range_alone() -> None:
    numbers = random.Random(0)
    assert list(number_patterns(12, 39)) == ["0001[2-9]", "000[2-3][0-9]"]
    for _ in range(200):
        first = numbers.choice([numbers.randrange(20_000), numbers.randrange(99_900, 100_100)])
        last = first + numbers.choice([0, 1, 9, 10, 99, numbers.randrange(300)])
        patterns = list(number_patterns(first, last))
        assert len(patterns) < 20
        for number in range(max(first - 40, 0), last + 40):
            hits = sum(fnmatchcase(f"{number:05d}", pattern) for pattern in patterns)
            assert hits == (first <= number <= last), (first, last, number)
