"""Tables of the restoration study, from the scores so far."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from nightrain.benchmarks.restoration_arms import ARMS, WEATHER, Arm, View
from nightrain.datasets.io.atomic import write_whole

Scores = dict[int, dict[str, Any]]  # scores of an arm, by seed


def write_tables(out: Path) -> None:
    """Write OUT/restoration.md and OUT/restoration.json from all scores so far."""
    scores = [json.loads(path.read_text()) for path in sorted(out.glob("seed-*/*/score.json"))]
    by_arm = {arm.name: {s["seed"]: s for s in scores if s["arm"] == arm.name} for arm in ARMS}
    found = [arm for arm in ARMS if by_arm[arm.name]]
    accuracy, chain = list[str](), list[str]()
    for arm in found:
        against = by_arm[arm.against] if arm.name != arm.against else {}
        accuracy += [_accuracy(arm, view, by_arm[arm.name], against) for view in arm.scored]
        if arm.restoration is not None:
            chain.append(_chain(arm, by_arm[arm.name]))
    columns = [*(f"{c.value}: RMSE m" for c in WEATHER), "all: RMSE m", "change", "against no view"]
    lines = [
        f"| arm | view | seeds | {' | '.join(columns)} | AbsRel |",
        f"| --- | --- | ---: |{' ---: |' * (len(columns) + 1)}",
        *accuracy,
        "",
        "| arm | step deviation | RMSE m after steps T to 1 | weights |",
        "| --- | ---: | --- | ---: |",
        *chain,
    ]
    write_whole(out / "restoration.md", "\n".join(lines) + "\n")
    write_whole(out / "restoration.json", json.dumps(scores, indent=1) + "\n")


def _accuracy(arm: Arm, view: View, found: Scores, against: Scores) -> str:
    """Format a row of scores: RMSE by condition, changes and AbsRel.

    "change" is against the reference arm with the same seed, "against no view" against the same
    arm scored without its view.
    """
    rows = [s["scores"][view] for s in found.values()]
    change = [
        100 * (_rmse(s, view) / _rmse(against[seed], "none") - 1)
        for seed, s in found.items()
        if seed in against
    ]
    beside = [100 * (_rmse(s, view) / _rmse(s, "none") - 1) for s in found.values()]
    cells = [arm.words, "-" if arm.view is None else view, str(len(rows))]
    cells += [_spread([r[c]["rmse"] for r in rows], 2) for c in (*WEATHER, "all")]
    cells += [_spread(change, 1) + " %" if change else "-"]
    cells += ["-" if view == "none" else _spread(beside, 1) + " %"]
    cells += [_spread([r["all"]["abs_rel"] for r in rows], 4)]
    return f"| {' | '.join(cells)} |"


def _chain(arm: Arm, found: Scores) -> str:
    """Format a row of step scores: their deviation from the last step, and RMSE after each step."""
    rows = [s["scores"][arm.scored[0]]["all"] for s in found.values()]
    by_step = np.mean([r["rmse_of_steps"] for r in rows], axis=0)
    weights = next(iter(found.values()))["parameters"]
    cells = [arm.words, _spread([r["deviation"] for r in rows], 4)]
    cells += [", ".join(f"{rmse:.3f}" for rmse in by_step), f"{weights / 1e6:.2f} M"]
    return f"| {' | '.join(cells)} |"


def _rmse(score: dict[str, Any], view: View) -> float:
    return score["scores"][view]["all"]["rmse"]


def _spread(values: list[float], digits: int) -> str:
    """Format the mean and the sample standard deviation over seeds."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
