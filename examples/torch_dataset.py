"""PyTorch dataset of variants with their clear frames and depth, from committed shards alone.

    python examples/torch_dataset.py DATASET

Needs torch, numpy, pillow and pyarrow; copy it to where you train. The manifest says which shards
are committed, so they may be read while others are written. Verdicts of people are not looked at.
"""

import io
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

Place = tuple[Path, int, int]  # file, row group, row in it
DEPTHS = ("exact_depth", "lidar_depth")  # the first one that a frame has


class VariantDataset(Dataset[dict[str, Any]]):
    """Variants that are not superseded, of some conditions or of all.

    clear (3, H, W) and variant (3, h, w) float32 in [0, 1]; depth_m (H, W) float32 in metres, 0
    where there is none; intrinsics of the clear frame and variant_intrinsics, (3, 3) float64 in
    pixels; condition.
    """

    def __init__(self, root: Path, conditions: tuple[str, ...] = ()) -> None:
        self.frames = dict(places(root, "frames"))
        tables = [t for t in current_tables(root) if not conditions or Path(t).name in conditions]
        rows = [row for table in tables for row in places(root, table)]
        self.variants = [(self.frames[key], place) for key, place in rows if key in self.frames]

    def __len__(self) -> int:
        return len(self.variants)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clear_at, variant_at = self.variants[index]
        frame = read_row(*clear_at, ("image", "intrinsics", "depth_scale", *DEPTHS))
        variant = read_row(*variant_at, ("image", "intrinsics", "condition"))
        clear = pixels(frame["image"])
        depth = next((frame[name] for name in DEPTHS if frame[name]), None)
        levels = np.zeros(clear.shape[:2]) if depth is None else pixels(depth)
        return {
            "clear": torch.from_numpy(clear).permute(2, 0, 1) / 255,
            "variant": torch.from_numpy(pixels(variant["image"])).permute(2, 0, 1) / 255,
            "depth_m": torch.from_numpy(levels.astype(np.float32) / frame["depth_scale"]),
            "intrinsics": matrix(frame),
            "variant_intrinsics": matrix(variant),
            "condition": variant["condition"],
        }


def current_tables(root: Path) -> list[str]:
    """Tables of variants that the last record of a recipe names; earlier ones are superseded."""
    recipes = (root / "_manifest/recipes").glob("*")
    last = [json.loads(max(recipe.glob("*.pinned")).read_text()) for recipe in recipes]
    return sorted({table for record in last for table in record["pinned"]["settings"]})


def places(root: Path, table: str) -> Iterator[tuple[str, Place]]:
    """Yield the frame id and the place of each row of a table's committed shards."""
    for entry in sorted((root / "_manifest" / table).glob("*.json")):
        path = root / json.loads(entry.read_text())["entry"]["rows"]["path"]
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, ["frame_id"])["frame_id"].to_pylist()
                yield from ((key, (path, group, row)) for row, key in enumerate(keys))


@lru_cache(maxsize=8)  # row groups of about 2 MB: shuffle in blocks, or raise it
def read_group(path: Path, group: int, columns: tuple[str, ...]) -> Any:
    """Columns of a row group."""
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, list(columns))


def read_row(path: Path, group: int, row: int, columns: tuple[str, ...]) -> dict[str, Any]:
    """Columns of a row."""
    return read_group(path, group, columns).slice(row, 1).to_pylist()[0]


def pixels(image: dict[str, Any]) -> np.ndarray:
    """Decode (H, W, 3) uint8 of a picture, or (H, W) uint16 of a depth map."""
    return np.array(Image.open(io.BytesIO(image["bytes"])))


def matrix(row: dict[str, Any]) -> torch.Tensor:
    """Intrinsics (3, 3) of a row."""
    return torch.tensor(row["intrinsics"], dtype=torch.float64).view(3, 3)


def main(root: Path) -> None:
    """Print the first batch."""
    dataset = VariantDataset(root)
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    print(len(dataset), "variants; first batch:", batch.pop("condition"))
    for name, values in batch.items():
        print(f"{name:20}{tuple(values.shape)} {values.dtype}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
