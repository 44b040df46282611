"""The demo from an empty folder: wall time and memory; and how long `nightrain --help` takes.

python -m benchmarks.demo [--json]
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Figure, print_figures


def measure() -> list[Figure]:
    """Run the demo once and the help a few times, as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed("demo", "--out", str(Path(folder) / "demo"))
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    help_seconds = statistics.median(timed("--help") for _ in range(5))
    return [
        Figure("make demo, once installed", seconds, "s", "at most 120"),
        Figure("peak memory of its largest process", peak_kib / 1024**2, "GiB", "under 3"),
        Figure("nightrain --help", help_seconds, "s", "under 1"),
    ]


def timed(*arguments: str) -> float:
    """Seconds of wall time of the command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    print_figures("demo", measure(), as_json="--json" in sys.argv)
