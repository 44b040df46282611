"""The demo from an empty folder: wall and CPU time, memory; and how long `nightrain --help` takes.

python -m nightrain.benchmarks.demo [--json]
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nightrain.benchmarks.report import Figure, print_figures


def measure() -> list[Figure]:
    """Run the demo once and the help a few times, as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed("demo", "--out", str(Path(folder) / "demo"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    help_seconds = statistics.median(timed("--help") for _ in range(5))
    return [
        Figure("make demo, once installed", seconds, "s", "at most 240"),
        Figure("its CPU time, all processes", used.ru_utime + used.ru_stime, "s", ""),
        Figure("peak memory of its largest process", used.ru_maxrss / 1024**2, "GiB", "under 3"),
        Figure("nightrain --help", help_seconds, "s", "under 1"),
    ]


def timed(*arguments: str) -> float:
    """Seconds of wall time of the command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nightrain.flows.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    print_figures("demo", measure(), as_json="--json" in sys.argv)
