"""What a training run says about itself: metrics.jsonl, and TensorBoard where it is asked for."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightrain.datasets.io.atomic import write_whole

METRICS = "metrics.jsonl"


class Means:
    """Sums over the steps since the last report; its state belongs into a checkpoint."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"num_steps": 0, "sums": {}}
        self.num_steps, self.sums = int(state["num_steps"]), dict[str, float](state["sums"])

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the values of a step."""
        self.num_steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """The means by name; begins anew."""
        means = {name: total / self.num_steps for name, total in self.sums.items()}
        self.num_steps, self.sums = 0, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """What goes on where this stands; JSON keeps it to the last bit."""
        return {"num_steps": self.num_steps, "sums": self.sums}


class RunLog:
    """Appends one line per report; lines after the step that a resumed run begins at are dropped.

    Values that are not finite are written as null: JSON has no NaN.
    """

    def __init__(self, folder: Path, *, first_step: int, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        kept = [line for line in read_metrics(folder) if line["step"] <= first_step]
        # Whole: a kill here must not cost the lines.
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def report(self, step: int, values: dict[str, float]) -> None:
        """Add a line: the optimiser steps done, and named values."""
        clean = {k: float(f"{v:.7g}") if math.isfinite(v) else None for k, v in values.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")
        for name, value in values.items() if self._writer else ():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Bring everything to the files."""
        if self._writer:
            self._writer.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run, in order; a line that was cut off by a crash is left out."""
    path = folder / METRICS
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
