"""Figures of a usefulness study: error of every arm at night, and stability against error."""

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.study.arm_result import SeedStatistic
from nightrain.pipelines.usefulness.study.svg import Panel, dot_plot, scatter_plot
from nightrain.pipelines.usefulness.study.table import Usefulness
from nightrain.pipelines.usefulness.study.tables_page import STABILITY_BUCKET

FIGURE_BUCKETS = ("night", "day-rain", "day-clear")


def error_figure(found: Usefulness) -> str:
    """Dots of abs_rel, rmse and change of abs_rel of every arm with scores (SVG).

    A line marks the constant, and no change.
    """
    there = {b.bucket for b in found.buckets if b.num_images}
    bucket = next((b for b in FIGURE_BUCKETS if b in there), "")
    arms = [arm for arm in found.arms if arm.seeds and bucket]
    panels = []
    for metric, words in (("abs_rel", "AbsRel"), ("rmse", "RMSE in m")):
        constant = found.baselines.get(MEDIAN_DEPTH, {}).get(bucket, {}).get(metric)
        panels.append(
            Panel(
                title=f"{words}, {bucket}",
                values=[_dot(arm.scores[bucket][metric]) for arm in arms],
                line=None if constant is None else constant.mean,
            )
        )
    changes = [arm.changes.get(bucket, {}).get("abs_rel") for arm in arms]
    values = [None if change is None else _dot(change, 100.0) for change in changes]
    panels.append(Panel(title="Change of AbsRel in %", values=values, line=0.0))
    note = (
        "Bars: one standard error over places and seeds. Red: constant median depth; no change "
        "against clear frames only. Changes are paired by place and seed."
    )
    return dot_plot([arm.name for arm in arms], panels, note)


def _dot(value: SeedStatistic, scale: float = 1.0) -> tuple[float, float]:
    return scale * value.mean, scale * (value.standard_error or 0.0)


def stability_figure(found: Usefulness) -> str:
    """Points of MeanDV and abs_rel at night, one for each arm that has both (SVG)."""
    arms = [
        (arm.name, arm.stability["mean_dv"].mean, arm.scores[STABILITY_BUCKET]["abs_rel"].mean)
        for arm in found.arms
        if "mean_dv" in arm.stability and STABILITY_BUCKET in arm.scores
    ]
    points = [(x, y) for _, x, y in arms]
    title = f"AbsRel, {STABILITY_BUCKET}"
    return scatter_plot([name for name, _, _ in arms], points, "MeanDV", title)
