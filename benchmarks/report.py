"""Report of a benchmark: measured figures, their units and their targets, as a table or as JSON."""

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A measured number; `wanted` states its target, "" if it has none."""

    name: str
    value: float
    unit: str
    wanted: str


def largest_child_gb() -> float:
    """Peak memory of the largest ended child process, in GB; the kernel counts in KiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def timed_child(words: Sequence[str], **environment: str) -> tuple[float, float]:
    """Run a command and return its wall and CPU time in seconds, its own children included.

    CPU time hardly depends on what else the machine does. Raises CalledProcessError.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, sum((after.ru_utime, after.ru_stime)) - sum((before.ru_utime, before.ru_stime))


def print_figures(title: str, figures: Sequence[Figure], as_json: bool) -> None:
    """Print figures as a Markdown table that names the machine, or as JSON."""
    if as_json:
        print(json.dumps({"title": title, "figures": [asdict(f) for f in figures]}, indent=2))
        return
    print(f"\n## {title} ({os.cpu_count()} cores, {platform.machine()})\n")
    print("| figure | measured | target |\n|---|---|---|")
    for f in figures:
        print(f"| {f.name} | {f.value:.4g} {f.unit} | {f.wanted or '-'} |")
