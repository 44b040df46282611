"""Figure of the restoration study: RMSE of every arm, and its change against R0."""

from collections.abc import Mapping

from nightrain.benchmarks.restoration_arms import ARMS, BASE, View
from nightrain.benchmarks.restoration_results import (
    Scores,
    change_of_rmse,
    score_of,
    scored_conditions,
)
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate
from nightrain.pipelines.usefulness.study.svg import Panel, dot_plot


def restoration_figure(by_arm: Mapping[str, Scores]) -> str:
    """Dots of RMSE at night and over all weather, and of its change against R0 (SVG)."""
    arms = [arm for arm in ARMS if arm.name in by_arm]
    names = [arm.name for arm in arms]
    found: list[tuple[Scores, View]] = [(by_arm[arm.name], arm.scored[0]) for arm in arms]
    panels = []
    for condition in (c for c in scored_conditions(by_arm) if c in ("night", "all")):
        constant = None
        if MEDIAN_DEPTH in by_arm:
            constant = score_of(by_arm[MEDIAN_DEPTH], "none", condition, "rmse").mean
        dots = [_dot(score_of(scores, view, condition, "rmse")) for scores, view in found]
        title = f"RMSE in m, {condition}"
        panels.append(Panel(title=title, values=dots, line=constant))
    base = by_arm.get(BASE.name, {})
    changes = [change_of_rmse(scores, view, base, "none", "all") for scores, view in found]
    dots = [None if one is None else _dot(one) for one in changes]
    panels.append(Panel(title="Change of RMSE in %, all", values=dots, line=0.0))
    note = (
        "Bars: one standard error over places and seeds. Red: constant median depth; no change "
        "against base (R0). Changes are paired by place and seed."
    )
    return dot_plot(names, panels, note)


def _dot(value: MeanEstimate) -> tuple[float, float]:
    return value.mean, value.standard_error or 0.0
