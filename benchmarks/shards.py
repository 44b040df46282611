"""Shard storage: size on disk over payload, read and write rates, time to the first sample.

    python -m nightrain.benchmarks.shards [--json]

The shard holds 2,000 rows of random bytes, each the size of a JPEG at quality 95.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nightrain.benchmarks.report import Figure, print_figures
from nightrain.datasets.shards.parquet import ShardReader, ShardWriter, describe_shard
from nightrain.datasets.shards.schema import VARIANTS

NUM_ROWS, PAYLOAD_BYTES = 2000, 107 * 1024  # a JPEG q95 of 768x448
RANDOM_READS, REPEATS = 400, 5


def measure() -> list[Figure]:
    """Write one shard, then read it in random order and in sequence; every read is checked."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        reader = _write(root)
        write_seconds = time.perf_counter() - started
        first, random_rates, whole_rates = [], [], []
        for repeat in range(REPEATS):
            fresh = ShardReader(root, reader.file)
            started = time.perf_counter()
            fresh.row(NUM_ROWS // 2, ["sample_id", "image"])
            first.append(time.perf_counter() - started)
            random_rates.append(_random_rate(ShardReader(root, reader.file), repeat))
            whole_rates.append(_whole_rate(ShardReader(root, reader.file)))
    payload = NUM_ROWS * PAYLOAD_BYTES
    return [
        Figure("bytes on disk / payload", reader.file.num_bytes / payload, "", "at most 1.01"),
        Figure("random access", statistics.median(random_rates), "rows/s", "at least 500"),
        Figure("time to first sample", statistics.median(first), "s", "at most 0.3"),
        Figure("reading in order", statistics.median(whole_rates), "rows/s", ""),
        Figure("writing and digesting", NUM_ROWS / write_seconds, "rows/s", ""),
    ]


def _write(root: Path) -> ShardReader:
    rng = np.random.default_rng(0)
    writer = ShardWriter(root / "shard.parquet", VARIANTS, {"recipe": "bench"})
    for index in range(NUM_ROWS):
        image = {"bytes": rng.bytes(PAYLOAD_BYTES), "path": f"{index}.jpg"}
        name = f"{index:020x}"
        row = {"sample_id": name, "frame_id": name, "image": image, "seed": index}
        writer.add({**row, "intrinsics": [1.0] * 9})
    writer.close()
    return ShardReader(root, describe_shard(writer.path, "shard.parquet"))


def _random_rate(reader: ShardReader, seed: int) -> float:
    wanted = np.random.default_rng(seed).integers(0, NUM_ROWS, RANDOM_READS)
    started = time.perf_counter()
    for index in wanted:
        reader.row(int(index), ["sample_id", "image"])
    return RANDOM_READS / (time.perf_counter() - started)


def _whole_rate(reader: ShardReader) -> float:
    started = time.perf_counter()
    num_rows = sum(1 for _ in reader.rows())
    return num_rows / (time.perf_counter() - started)


if __name__ == "__main__":
    print_figures("shards", measure(), as_json="--json" in sys.argv)
