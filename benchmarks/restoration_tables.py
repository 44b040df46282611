"""Tables of the restoration study, from the scores so far."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nightrain.benchmarks.restoration_arms import ARMS, BASE, Arm, View
from nightrain.benchmarks.restoration_figure import restoration_figure
from nightrain.benchmarks.restoration_results import (
    Scores,
    change_of_rmse,
    rows_of,
    score_of,
    scored_conditions,
)
from nightrain.datasets.io.atomic import write_whole
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.study import markdown
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate

CHANGES = ("clear", "night", "all")


def write_tables(out: Path) -> None:
    """Write OUT/restoration.md and restoration.svg from all scores so far."""
    scores = [json.loads(path.read_text()) for path in sorted(out.glob("seed-*/*/score.json"))]
    by_arm: dict[str, Scores] = {}
    for score in scores:
        by_arm.setdefault(score["arm"], {})[score["seed"]] = score
    write_whole(out / "restoration.md", "\n".join(table_lines(by_arm)) + "\n")
    write_whole(out / "restoration.svg", restoration_figure(by_arm))


def table_lines(by_arm: Mapping[str, Scores]) -> list[str]:
    """Return the tables as Markdown: accuracy, views, and the chain's steps."""
    conditions = scored_conditions(by_arm)
    changing = [condition for condition in CHANGES if condition in conditions]
    columns = [
        *(f"{condition}: RMSE m" for condition in conditions),
        *("all: AbsRel", "all: d1"),
        *(f"{condition}: change of RMSE" for condition in changing),
    ]
    accuracy, views, chain = list[list[str]](), list[list[str]](), list[list[str]]()
    if MEDIAN_DEPTH in by_arm:
        constant = by_arm[MEDIAN_DEPTH]
        accuracy.append(_accuracy("constant median depth", "-", constant, "none", {}, conditions))
    for arm in (arm for arm in ARMS if arm.name in by_arm):
        found, base = by_arm[arm.name], by_arm.get(BASE.name, {})
        for view in arm.scored:
            shown = "-" if arm.view is None else view
            accuracy.append(_accuracy(arm.words, shown, found, view, base, conditions))
            if view != "none":
                changes = [_change(found, view, found, "none", c) for c in changing]
                views.append([arm.words, view, *changes])
        if arm.restoration is not None:
            chain.append(_chain(arm, found))
    against = [f"{condition}: change of RMSE against no view" for condition in changing]
    steps = ["step deviation", "RMSE m after steps T to 1", "weights"]
    tables = [markdown.table_lines(["arm", "view", "seeds", *columns], accuracy, num_left=3)]
    if views:
        tables.append(markdown.table_lines(["arm", "view", *against], views, num_left=2))
    if chain:
        tables.append(markdown.table_lines(["arm", *steps], chain, num_left=1))
    return "\n\n".join("\n".join(table) for table in tables).splitlines()


def _accuracy(
    words: str, shown: str, found: Scores, view: View, base: Scores, conditions: Sequence[str]
) -> list[str]:
    """Cells of a row of scores; the change is against R0, the base, with the same seeds."""
    cells = [words, shown, str(len(found))]
    cells += [f"{score_of(found, view, c, 'rmse').mean:.2f}" for c in conditions[:-1]]
    for metric, digits in (("rmse", 2), ("abs_rel", 3), ("d1", 3)):
        cells.append(_plus_minus(score_of(found, view, "all", metric), digits))
    cells += [_change(found, view, base, "none", c) for c in CHANGES if c in conditions]
    return cells


def _change(found: Scores, view: View, base: Scores, base_view: View, condition: str) -> str:
    moved = change_of_rmse(found, view, base, base_view, condition)
    if moved is None or (found is base and view == base_view):
        return "-"
    return _plus_minus(moved, 1, sign="+") + " %"


def _chain(arm: Arm, found: Scores) -> list[str]:
    """Cells of a row of step scores: deviation from the last step, and RMSE after each step."""
    of_seeds = [rows_of(score, arm.scored[0], "all") for score in found.values()]
    by_step = np.mean([[row["rmse_of_steps"] for row in rows] for rows in of_seeds], axis=(0, 1))
    deviations = [statistics.fmean(row["deviation"] for row in rows) for rows in of_seeds]
    spread = f" ± {statistics.stdev(deviations):.4f}" if len(deviations) > 1 else ""
    weights = next(iter(found.values()))["parameters"]
    return [
        arm.words,
        f"{statistics.fmean(deviations):.4f}{spread}",
        ", ".join(f"{rmse:.3f}" for rmse in by_step),
        f"{weights / 1e6:.2f} M",
    ]


def _plus_minus(found: MeanEstimate, digits: int, sign: str = "") -> str:
    error = "" if found.standard_error is None else f" ± {found.standard_error:.{digits}f}"
    return f"{found.mean:{sign}.{digits}f}{error}"
