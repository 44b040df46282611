"""Hugging Face `datasets` reads what is generated, and finds images, depth maps and columns."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Image, load_dataset

from nightrain.datasets.shards import schema
from support.synthetic import SIZE, ground_depth_m


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
    assert variants.num_rows == 5 * 4 and variants.column_names == schema.VARIANTS.names
    assert set(variants["condition"]) == {"night", "rain", "snow", "fog", "night-rain"}
    assert set(variants["frame_id"]) == set(frames["frame_id"])
    night = next(row for row in variants if row["condition"] == "night")
    assert night["image"].size == SIZE
    clear = next(row for row in frames if row["frame_id"] == night["frame_id"])
    assert np.asarray(night["image"]).mean() < 0.7 * np.asarray(clear["image"]).mean()
    assert night["physical"]["ambient_lux"] > 0 and night["physical"]["visibility_m"] is None
    assert night["intrinsics"] == clear["intrinsics"]


def test_the_dataset_card_names_configurations_that_load(generated: Path, tmp_path: Path) -> None:
    fog = load_dataset(str(generated), "demo-fog", split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(fog, Dataset) and set(fog["condition"]) == {"fog"}
