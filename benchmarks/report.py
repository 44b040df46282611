"""Figures with their units and what they must reach, as a table or as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    wanted: str


def print_figures(title: str, figures: Sequence[Figure], as_json: bool) -> None:
    """Print figures with the machine they were measured on."""
    if as_json:
        print(json.dumps({"title": title, "figures": [asdict(f) for f in figures]}, indent=2))
        return
    print(f"\n## {title} ({os.cpu_count()} cores, {platform.machine()})\n")
    print("| figure | measured | wanted |\n|---|---|---|")
    for f in figures:
        print(f"| {f.name} | {f.value:.4g} {f.unit} | {f.wanted or '-'} |")
