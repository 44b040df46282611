"""Read a dataset of shards without nightrain: DuckDB, Hugging Face datasets, PyTorch.

    python examples/read_shards.py DATASET

Needs duckdb, datasets, torch, numpy, pillow, pyarrow and pyyaml. The manifest, DATASET/_manifest,
lists the committed shards; reading the Parquet files directly, as here, is right while nothing is
writing.
"""

import io
import sys
from glob import escape, glob
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset as pads
import torch
import yaml
from datasets import disable_progress_bars, load_dataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset


def variant_files(root: Path) -> list[str]:
    """Return the shards of all variants that are not superseded, as the dataset card lists them.

    After a recipe was edited, `variants/*/*/*.parquet` has the variants of its old settings, too.
    """
    front = (root / "README.md").read_text().split("---")[1]
    listed = [files["path"] for c in yaml.safe_load(front)["configs"] for files in c["data_files"]]
    paths = {p for path in listed for p in ([path] if isinstance(path, str) else path)}
    variants = (
        glob(f"{escape(str(root))}/{path}") for path in paths if path.startswith("variants/")
    )
    return sorted(file for files in variants for file in files)


def with_duckdb(root: Path) -> str:
    """Return a table of the variants: number and mean severity by condition."""
    query = f"""
        select condition, count(*) as variants, round(avg(severity), 2) as severity
        from read_parquet({variant_files(root)}) group by condition order by condition
    """
    return str(duckdb.sql(query))


def with_hugging_face(root: Path, condition: str) -> dict[str, object]:
    """Return the first variant of a condition; the column `image` decodes to a Pillow image."""
    # One condition's shards are DATASET/variants/<engine>-<hash>/<condition>/NNNNN.parquet.
    shards = [file for file in variant_files(root) if Path(file).parent.name == condition]
    variants = load_dataset("parquet", data_files=shards, split="train")
    return variants[0]


class Pairs(Dataset[dict[str, torch.Tensor]]):
    """Variants with the depth of their clear frame, joined by `frame_id`.

    image (3, H, W) float32 in [0, 1]; depth_m (h, w) float32 in metres, 0 where nothing was
    measured, at the size of the clear frame.
    """

    def __init__(self, root: Path) -> None:
        frames = pads.dataset(root / "frames", format="parquet")
        depths = frames.to_table(columns=["frame_id", "lidar_depth", "depth_scale"]).to_pylist()
        self.depths = {row["frame_id"]: row for row in depths}
        variants = pads.dataset(variant_files(root), format="parquet")
        self.variants = variants.to_table(columns=["frame_id", "image", "condition"]).to_pylist()

    def __len__(self) -> int:
        return len(self.variants)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        variant = self.variants[index]
        frame = self.depths[variant["frame_id"]]
        image = np.asarray(Image.open(io.BytesIO(variant["image"]["bytes"])))
        depth = np.asarray(Image.open(io.BytesIO(frame["lidar_depth"]["bytes"])), np.float32)
        return {
            "image": torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255,
            "depth_m": torch.from_numpy(depth / np.float32(frame["depth_scale"])),
        }


def main(root: Path) -> None:
    """Print what each library reads."""
    disable_progress_bars()
    print(with_duckdb(root))
    row = with_hugging_face(root, "night")
    print(row["sample_id"], row["image"], row["physical"])
    batch = next(iter(DataLoader(Pairs(root), batch_size=2)))
    measured = (batch["depth_m"] > 0).float().mean()
    print(tuple(batch["image"].shape), f"{measured:.1%} of the pixels have a measured depth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
