"""`nightrain demo` from an empty folder: wall time, CPU time and memory; start-up of the command.

    python -m nightrain.benchmarks.demo [--json]

Start-up is the median wall time of `nightrain --help`.
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
    """Run the demo once and `nightrain --help` five times, each as a new process."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed("demo", "--out", str(Path(folder) / "demo"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    help_seconds = statistics.median(timed("--help") for _ in range(5))
    return [
        Figure("nightrain demo: wall time", seconds, "s", "at most 240"),
        Figure("nightrain demo: CPU time", used.ru_utime + used.ru_stime, "s", ""),
        Figure("peak memory of the largest process", used.ru_maxrss / 1024**2, "GiB", "under 3"),
        Figure("nightrain --help: wall time", help_seconds, "s", "under 1"),
    ]


def timed(*arguments: str) -> float:
    """Run a `nightrain` command and return its wall time in seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nightrain.flows.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    print_figures("demo", measure(), as_json="--json" in sys.argv)
