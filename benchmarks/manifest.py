"""Manifest at scale: `plan`, and `generate` with nothing to do, on a dataset that is only entries.

    python -m nightrain.benchmarks.manifest [--frames N] [--json]

The dataset has N frames (default: 1,000,000) and their variants by the recipe `weather`, in shards
of 128 rows. Its manifest is complete; its data files are holes, because neither command
reads one.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from nightrain.benchmarks.report import Figure, largest_child_gb, print_figures, timed_child
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.shards.manifest import FRAMES, Entry, Shard
from nightrain.datasets.shards.parquet import RowGroup, ShardFile
from nightrain.datasets.shards.recipe_records import record_recipe
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.pipelines.recipes.recipe_file import load_recipe

ROWS_PER_SHARD, ROWS_PER_GROUP, GROUP_BYTES, TAIL_BYTES = 128, 20, 2 << 20, 20_000
RECIPE = "weather"
LIMIT_S, LIMIT_GB = 10, 1.0
COMMANDS = {
    "plan": ("plan", "DATASET", "--recipe", RECIPE),
    "generate, nothing to do": ("generate", "DATASET", "--recipe", RECIPE, "--runner", "local"),
}


def write_manifest(root: Path, num_frames: int) -> int:
    """Write the entries of a dataset with all variants of a recipe; return their number.

    The data files have the right size and hold nothing.
    """
    recipe = load_recipe(RECIPE)
    record_recipe(root, recipe.name, recipe.tables)
    num_shards = -(-num_frames // ROWS_PER_SHARD)
    for table in (FRAMES, *recipe.tables):
        entries, data = root / "_manifest" / table, root / table
        entries.mkdir(parents=True)
        data.mkdir(parents=True)
        for number in range(num_shards):
            entry = _entry(Shard(table=table, number=number))
            body = record_bytes("entry", entry.model_dump(mode="json"))
            (entries / f"{entry.shard.stem}.json").write_bytes(body)
            with open(root / entry.rows.path, "wb") as file:
                file.truncate(entry.rows.num_bytes)  # takes no room on the disk
    return num_shards * (1 + len(recipe.tables))


def _entry(shard: Shard) -> Entry:
    digest = hashlib.sha256(shard.name.encode()).hexdigest()
    groups = tuple(
        RowGroup(
            num_rows=min(ROWS_PER_GROUP, ROWS_PER_SHARD - first),
            offset=4 + first // ROWS_PER_GROUP * GROUP_BYTES,
            num_bytes=GROUP_BYTES,
            sha256=digest,
        )
        for first in range(0, ROWS_PER_SHARD, ROWS_PER_GROUP)
    )
    file = ShardFile(
        path=f"{shard.table}/{shard.stem}.parquet",
        num_rows=ROWS_PER_SHARD,
        num_bytes=4 + len(groups) * GROUP_BYTES + TAIL_BYTES,
        sha256=digest,
        tail_sha256=digest,
        keys_sha256=digest,
        row_groups=groups,
    )
    return Entry(
        shard=shard,
        rows=file,
        about={"split": "train", "condition": "clear", "source": "nuscenes"},
        seconds=12.0,
        created_at="2026-01-01T00:00:00+00:00",
        schema_version=SCHEMA_VERSION,
    )


def measure(num_frames: int) -> list[Figure]:
    """Time each command in a process of its own, and read the largest memory of them."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        figures.append(Figure("entries", write_manifest(root, num_frames), "", ""))
        for name, arguments in COMMANDS.items():
            words = [str(root) if word == "DATASET" else word for word in arguments]
            wall_s, cpu_s = timed_child([sys.executable, "-m", "nightrain.flows.cli", *words])
            figures.append(Figure(name, wall_s, "s", f"at most {LIMIT_S}"))
            figures.append(Figure(f"{name}: CPU", cpu_s, "s", ""))
    figures.append(Figure("largest memory", largest_child_gb(), "GB", f"at most {LIMIT_GB}"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Commands on a manifest of many entries")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    print_figures("manifest", measure(arguments.frames), as_json=arguments.json)


if __name__ == "__main__":
    main()
