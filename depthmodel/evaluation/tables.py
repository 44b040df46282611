"""Tables of evaluations, as Markdown and as JSON.

A table compares only evaluations with the same settings on the same frames. It states how many
images each mean is of, and which conditions have none.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.metrics import METRICS
from nightrain.depthmodel.evaluation.results import Evaluation, Score
from nightrain.depthmodel.evaluation.settings import (
    BUCKETS,
    SCALING_WORDS,
    EvaluationSettings,
    Scaling,
)

DEFAULT_METRICS = ("abs_rel", "rmse", "d1")
DIGITS = {"silog": 2}
OTHER_DIGITS = 3
CONDITION_COLUMNS = ("condition", "images", "scenes", "drives", "skipped")


class Cell(BaseModel):
    """Table cell: a metric of an arm in a bucket, mean and standard deviation over its runs."""

    model_config = ConfigDict(frozen=True)
    arm: str
    bucket: str
    metric: str
    mean: float
    std: float | None  # None for a single evaluation


class BucketCount(BaseModel):
    """Images, scenes and drives behind a column of the table."""

    model_config = ConfigDict(frozen=True)
    bucket: str
    num_images: int
    num_scenes: int
    num_drives: int
    num_skipped: int  # without valid truth


class ComparisonTable(BaseModel):
    """Comparison of arms: arms in rows, conditions and metrics in columns."""

    model_config = ConfigDict(frozen=True)
    settings: EvaluationSettings
    dataset: str
    frames_sha256: str
    cap_m: float
    scaling: Scaling
    metrics: tuple[str, ...]
    num_evaluations: dict[str, int]  # by arm
    buckets: tuple[BucketCount, ...]
    cells: tuple[Cell, ...]

    def markdown(self) -> str:
        """The table as Markdown, with the settings above it and the image counts below it."""
        columns = [(b.bucket, m) for b in self.buckets if b.num_images for m in self.metrics]
        cells = {(c.arm, c.bucket, c.metric): c for c in self.cells}
        rows = [
            [arm, str(runs), *(_with_std(cells[arm, b, m]) for b, m in columns)]
            for arm, runs in self.num_evaluations.items()
        ]
        header = ["model", "runs", *(f"{bucket} {metric}" for bucket, metric in columns)]
        return "\n".join(
            [
                _title(self.dataset, self.settings, self.cap_m, self.scaling),
                "",
                *_markdown_rows(header, rows, num_left=1),
                "",
                *_counts(self.buckets),
            ]
        )


def comparison_table(
    arms: Mapping[str, Sequence[Evaluation]],
    *,
    scaling: Scaling = "metric",
    cap_m: float | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    buckets: Sequence[str] = tuple(bucket.name for bucket in BUCKETS),
) -> ComparisonTable:
    """Compare arms, each with an evaluation per seed; raises InvalidRequest.

    Rejects arms without evaluations, evaluations of different frames or settings, and unknown
    metrics, buckets, caps or scalings.
    """
    evaluations = [e for arm in arms.values() for e in arm]
    _require_comparable(arms, metrics)
    first = evaluations[0]
    cap_m = first.settings.caps_m[0] if cap_m is None else cap_m
    counts = [_bucket_count(first.score(name, cap_m, scaling)) for name in buckets]
    cells = tuple(
        _cell(arm, [e.score(count.bucket, cap_m, scaling) for e in arms[arm]], metric)
        for arm in arms
        for count in counts
        if count.num_images
        for metric in metrics
    )
    return ComparisonTable(
        settings=first.settings,
        dataset=first.dataset,
        frames_sha256=first.frames_sha256,
        cap_m=cap_m,
        scaling=scaling,
        metrics=tuple(metrics),
        num_evaluations={arm: len(found) for arm, found in arms.items()},
        buckets=tuple(counts),
        cells=cells,
    )


def condition_table(
    evaluation: Evaluation, *, scaling: Scaling = "metric", cap_m: float | None = None
) -> str:
    """Markdown table of one evaluation: conditions in rows, all metrics with standard errors."""
    cap_m = evaluation.settings.caps_m[0] if cap_m is None else cap_m
    rows = [
        [s.bucket, *_numbers(s), *_estimates(s)]
        for s in (evaluation.score(bucket.name, cap_m, scaling) for bucket in BUCKETS)
    ]
    return "\n".join(
        [
            f"{evaluation.model}: "
            + _title(evaluation.dataset, evaluation.settings, cap_m, scaling),
            "",
            *_markdown_rows([*CONDITION_COLUMNS, *METRICS], rows, 1),
            "",
            "± is the standard error by drive; skipped images have no valid truth.",
        ]
    )


def _require_comparable(arms: Mapping[str, Sequence[Evaluation]], metrics: Sequence[str]) -> None:
    if not arms or not all(arms.values()):
        empty = [arm for arm, found in arms.items() if not found]
        raise InvalidRequest(
            f"a table needs an evaluation for each arm; {empty or 'no arm'} has none."
        )
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise InvalidRequest(
            f"there is no metric {unknown[0]!r}; choose from {', '.join(METRICS)}."
        )
    named = [(arm, e) for arm, found in arms.items() for e in found]
    arm, first = named[0]
    for other_arm, other in named[1:]:
        for what in ("settings", "frames_sha256"):
            if getattr(first, what) != getattr(other, what):
                raise InvalidRequest(
                    f"{arm!r} and {other_arm!r} are not comparable: their {what} are "
                    f"{getattr(first, what)} and {getattr(other, what)}. Evaluate both again with "
                    "the same settings and frames."
                )


def _cell(arm: str, scores: Sequence[Score], metric: str) -> Cell:
    means = np.array([s.metrics[metric].mean for s in scores if s.metrics is not None])
    std = float(means.std(ddof=1)) if len(means) > 1 else None
    return Cell(arm=arm, bucket=scores[0].bucket, metric=metric, mean=float(means.mean()), std=std)


def _bucket_count(score: Score) -> BucketCount:
    return BucketCount(
        bucket=score.bucket,
        num_images=score.num_images,
        num_scenes=score.num_scenes,
        num_drives=score.num_drives,
        num_skipped=score.num_skipped,
    )


def _numbers(score: Score) -> list[str]:
    counts = (score.num_images, score.num_scenes, score.num_drives, score.num_skipped)
    return [str(count) for count in counts]


def _title(dataset: str, settings: EvaluationSettings, cap_m: float, scaling: Scaling) -> str:
    crop = "" if settings.crop == "none" else f", crop {settings.crop}"
    return (
        f"{dataset} {settings.split}, {settings.truth} depth from {settings.min_depth_m:g} to "
        f"{cap_m:g} m{crop}, {SCALING_WORDS[scaling]}"
    )


def _counts(buckets: Sequence[BucketCount]) -> list[str]:
    there = [
        f"{b.bucket} {b.num_images} ({b.num_scenes}; {b.num_drives})"
        for b in buckets
        if b.num_images
    ]
    lines = [f"Images (scenes; drives): {', '.join(there) or 'none'}."]
    if absent := [b.bucket for b in buckets if not b.num_images]:
        lines.append(f"No images: {', '.join(absent)}.")
    if skipped := [f"{b.bucket} {b.num_skipped}" for b in buckets if b.num_skipped]:
        lines.append(f"Skipped without valid truth: {', '.join(skipped)}.")
    return lines


def _with_std(cell: Cell) -> str:
    digits = DIGITS.get(cell.metric, OTHER_DIGITS)
    return f"{cell.mean:.{digits}f}" + ("" if cell.std is None else f" ± {cell.std:.{digits}f}")


def _estimates(score: Score) -> list[str]:
    if score.metrics is None:
        return ["no images", *("-" for _ in METRICS[1:])]
    cells = []
    for name in METRICS:
        estimate, digits = score.metrics[name], DIGITS.get(name, OTHER_DIGITS)
        error = estimate.standard_error
        cells.append(
            f"{estimate.mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
        )
    return cells


def _markdown_rows(
    header: Sequence[str], rows: Sequence[Sequence[str]], num_left: int
) -> list[str]:
    rule = ["---"] * num_left + ["---:"] * (len(header) - num_left)
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
