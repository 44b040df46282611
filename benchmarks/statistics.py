"""Statistics of a dataset: the time of `stats` on a table of many variants.

    python -m nightrain.benchmarks.statistics [--rows N] [--json]

The table has N variants (default: 100,000) of 4 cameras in shards of 128 rows, with small images of
random grey: the images of all but the sampled rows are never read.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nightrain.benchmarks.report import Figure, largest_child_gb, print_figures
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import VARIANTS

ROWS_PER_SHARD = 128
TABLE = "variants/weather-00000000/night"
LIMIT_S = 2


def write_variants(root: Path, num_rows: int, more: Row | None = None) -> None:
    """Commit variants to a new dataset; `more` are columns that all of them have."""
    manifest, rng = Manifest(root), np.random.default_rng(0)
    images = [encode_jpeg(rng.integers(0, 90, (56, 96, 3)).astype(np.uint8)) for _ in range(16)]
    about = {"split": "train", "condition": "night"}
    for number in range(-(-num_rows // ROWS_PER_SHARD)):
        first = number * ROWS_PER_SHARD
        with manifest.writer(TABLE, VARIANTS, about) as writer:
            for index in range(first, min(first + ROWS_PER_SHARD, num_rows)):
                writer.add(_row(index, images, rng) | (more or {}))
            writer.close()
            shard = Shard(table=TABLE, number=number)
            manifest.commit(shard, writer, about=about, counts={}, seconds=1.0)


def _row(index: int, images: list[bytes], rng: np.random.Generator) -> Row:
    name = f"{index:020x}"
    return {
        "sample_id": name,
        "frame_id": name,
        "image": {"bytes": images[index % len(images)], "path": f"{name}.jpg"},
        "condition": "night",
        "split": "train",
        "camera": f"CAM_{index % 4}",
        "severity": float(rng.random()),
        "physical": {"visibility_m": float(rng.uniform(10, 500))},
        "gen_seconds": float(rng.uniform(0.1, 2)),
        "seed": index,
        "intrinsics": [1.0] * 9,
    }


def measure(num_rows: int) -> list[Figure]:
    """Time `stats` in this process, and as a command with its start-up."""
    from nightrain.pipelines.inspect.stats import dataset_stats

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_variants(root, num_rows)
        started = time.perf_counter()
        dataset_stats(root)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        command = [sys.executable, "-m", "nightrain.flows.cli", "stats", str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        command_seconds = time.perf_counter() - started
    return [
        Figure("rows", num_rows, "", ""),
        Figure("stats", seconds, "s", f"at most {LIMIT_S}"),
        Figure("command, with start-up", command_seconds, "s", ""),
        Figure("largest memory", largest_child_gb(), "GB", ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of `stats` on many variants")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    print_figures("statistics", measure(arguments.rows), as_json=arguments.json)


if __name__ == "__main__":
    main()
