"""Results of the restoration study: scores over places and seeds, and changes between arms."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nightrain.benchmarks.restoration_arms import WEATHER, View
from nightrain.benchmarks.restoration_scores import Row
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate, change, estimate

CONDITIONS = (*(condition.value for condition in WEATHER), "all")
Scores = dict[int, dict[str, Any]]  # content of score.json of an arm, by seed


def scored_conditions(by_arm: Mapping[str, Scores]) -> list[str]:
    """Conditions of the scored frames, and all of them together."""
    found = {
        row["condition"]
        for scores in by_arm.values()
        for score in scores.values()
        for rows in score["rows"].values()
        for row in rows
    }
    return [name for name in CONDITIONS if name in found or name == "all"]


def score_of(found: Scores, view: View, condition: str, metric: str) -> MeanEstimate:
    """Mean of a metric over the frames of a condition and over seeds."""
    return estimate(_values(found, view, condition, metric), _places(found, view, condition))


def change_of_rmse(
    found: Scores, view: View, base: Scores, base_view: View, condition: str
) -> MeanEstimate | None:
    """Change of RMSE in percent, paired by seed and frame; None without a common seed."""
    seeds = sorted(set(found) & set(base))
    if not seeds:
        return None
    ours, theirs = ({seed: scores[seed] for seed in seeds} for scores in (found, base))
    moved = change(
        _values(ours, view, condition, "rmse"),
        _values(theirs, base_view, condition, "rmse"),
        _places(ours, view, condition),
    )
    error = moved.standard_error
    percent = {
        "mean": 100 * moved.mean,
        "standard_error": None if error is None else 100 * error,
    }
    return moved.model_copy(update=percent)


def rows_of(score: dict[str, Any], view: View, condition: str) -> list[Row]:
    """Rows of a condition, in one order for all arms and seeds."""
    rows: list[Row] = score["rows"][view]
    return [row for row in rows if condition in ("all", row["condition"])]


def _values(found: Scores, view: View, condition: str, metric: str) -> np.ndarray:
    """Scores (seeds, frames)."""
    return np.array([[r[metric] for r in rows_of(s, view, condition)] for s in found.values()])


def _places(found: Scores, view: View, condition: str) -> list[str]:
    return [row["place"] for row in rows_of(next(iter(found.values())), view, condition)]
