"""Metrics log of a training run: metrics.jsonl."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.documents import mapping, parse_json
from nightrain.datasets.io.regular import read_regular

METRICS = "metrics.jsonl"


class Means:
    """Means over the steps since the last report; a checkpoint stores their state."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"num_steps": 0, "sums": {}}
        self.num_steps, self.sums = int(state["num_steps"]), dict[str, float](state["sums"])

    def add(self, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        self.num_steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means by name and reset them."""
        means = {name: total / self.num_steps for name, total in self.sums.items()}
        self.num_steps, self.sums = 0, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; JSON keeps every bit of it."""
        return {"num_steps": self.num_steps, "sums": self.sums}


class MetricsLog:
    """Append one line per report, after removing lines of steps that a resumed run repeats.

    Values that are not finite are written as null, since JSON has no NaN.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._path = folder / METRICS
        kept = [line for line in read_metrics(folder) if line["step"] <= first_step]
        # Atomically: a kill here must not lose the lines.
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def report(self, step: int, values: dict[str, float]) -> None:
        """Append a line with the number of optimiser steps done and named values."""
        clean = {k: float(f"{v:.7g}") if math.isfinite(v) else None for k, v in values.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log in order, without a last line that a crash truncated.

    Raises InvalidRequest for any other line that is not a report of a step, UnreadableFile.
    """
    path = folder / METRICS
    try:
        *whole, last = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return []
    lines = [_parsed(path, number, text) for number, text in enumerate(whole, start=1)]
    with suppress(InvalidRequest):  # it has no line end: empty, or truncated
        lines.append(_parsed(path, len(whole) + 1, last))
    return lines


def _parsed(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = dict(mapping(parse_json(text)))
        if type(line.get("step")) is not int:
            raise ValueError("found no step")
    except ValueError as error:
        raise InvalidRequest(
            f"{path}, line {number}: {error}; expected the values of a step. Restore the file from "
            "a copy, or remove it to resume without the earlier lines."
        ) from error
    return line
