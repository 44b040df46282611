"""Drift jobs: two sets of pictures of one condition, compared measure by measure."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.validation import Settings
from nightrain.pipelines.drift.features import component_measures, features_of
from nightrain.pipelines.drift.measures import measures_of
from nightrain.pipelines.inspect.stats import sample

EARLIER, RECORDED = "earlier", "recorded"
FEWEST = 20  # rows with a measure on either side; fewer say nothing
SURE = 1e-3  # largest probability of such a distance by chance
ALL_COLUMNS = ("image", "severity", "physical", "gate_scores")


class DriftJob(Settings):
    """Options of `nightrain drift`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    recipe: str = Field(description="Recipe of the variants: name, folder or hash")
    against: str = Field(
        default=EARLIER,
        description="earlier: shards of the same tables that were committed before the day of the "
        "latest one; recorded: frames of the same condition; or another recipe",
    )
    sample: int = Field(default=300, ge=FEWEST, description="Pictures per condition and side")
    most: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Largest distance of a measure's distributions (Kolmogorov and Smirnov); with "
        "more, the exit code is 3",
    )

    features: bool = Field(
        default=False,
        description="Also compare ImageNet features of the pictures: their first four principal "
        "components",
    )

    @property
    def title(self) -> str:
        """What the job does, for lists of runs: "drift of weather in nuscenes"."""
        return f"drift of {self.recipe} in {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the recipe."""
        return ("drift", self.recipe)


class NothingToCompare(InvalidRequest):
    """One side of a comparison has too few pictures, such as in a dataset's first days."""


class MeasureDrift(BaseModel):
    """One measure of one condition on both sides."""

    condition: str
    measure: str
    median: float
    median_against: float
    num: int
    num_against: int
    distance: float  # largest difference of the cumulative distributions
    p: float  # probability of such a distance, were they the same
    drifted: bool


class DriftReport(BaseModel):
    """Comparison of all conditions; the largest distances first."""

    against: str
    most: float
    measures: list[MeasureDrift] = []
    left_out: dict[str, str] = {}  # conditions that cannot be compared, and why
    stopped: bool = False
    not_started: str = ""  # why nothing could be compared, where that is no error

    @property
    def drifted(self) -> list[MeasureDrift]:
        """Measures beyond the limit."""
        return [one for one in self.measures if one.drifted]

    @property
    def line(self) -> str:
        """Summary in one line, with the measure that drifted most."""
        text = f"{len(self.drifted)} of {len(self.measures)} measures beyond {self.most:g}"
        for one in self.drifted[:1]:
            text += (
                f"; {one.condition} {one.measure}: median {one.median:.4g} against "
                f"{one.median_against:.4g}, distance {one.distance:.2f}"
            )
        return text


def measure_drift(
    job: DriftJob, progress: Callable[[int, int], None] = lambda done, total: None
) -> DriftReport:
    """Compare the variants of a recipe with others; `progress` receives (done, conditions).

    Raises NothingToCompare where no condition can be compared, InvalidRequest, CorruptShard.
    """
    manifest = Manifest(job.dataset)
    report = DriftReport(against=job.against, most=job.most)
    tables = select_tables(manifest, job.recipe)
    for number, table in enumerate(tables):
        condition = condition_of(table)
        ours, theirs = _sides(manifest, table, job.against)
        if not ours or not theirs:
            report.left_out[condition] = _why(job.against, condition)
        else:
            rows = [_rows(manifest, side, job.sample) for side in (ours, theirs)]
            found = [measures_of(side) for side in rows]
            if job.features and min(map(len, rows)) >= FEWEST:
                components = component_measures(*(features_of(side) for side in rows))
                found = [of | more for of, more in zip(found, components, strict=True)]
            report.measures += _compared(condition, found[0], found[1], job.most)
        progress(number + 1, len(tables))
    if not report.measures:
        why = "; ".join(report.left_out.values()) or f"fewer than {FEWEST} pictures on a side"
        raise NothingToCompare(f"Nothing of recipe {job.recipe!r} can be compared: {why}.")
    report.measures.sort(key=lambda one: -one.distance)
    return report


def _sides(manifest: Manifest, table: str, against: str) -> tuple[list[Entry], list[Entry]]:
    """Entries of the variants, and of what they are compared with."""
    entries = [entry for entry in manifest.entries(table) if entry.rows.num_rows]
    condition = condition_of(table)
    if against == EARLIER:
        latest = max((entry.created_at[:10] for entry in entries), default="")
        earlier = [entry for entry in entries if entry.created_at[:10] < latest]
        return [entry for entry in entries if entry.created_at[:10] == latest], earlier
    if against == RECORDED:
        frames = [e for e in manifest.entries(FRAMES) if e.about.get("condition") == condition]
        return entries, [entry for entry in frames if entry.rows.num_rows]
    others = [t for t in select_tables(manifest, against) if condition_of(t) == condition]
    return entries, [e for t in others for e in manifest.entries(t) if e.rows.num_rows]


def _why(against: str, condition: str) -> str:
    if against == EARLIER:
        return f"{condition}: all shards were committed on one day"
    if against == RECORDED:
        return f"{condition}: there are no recorded {condition} frames"
    return f"{condition}: recipe {against!r} has no {Condition(condition)} variants"


def _rows(manifest: Manifest, entries: Sequence[Entry], num_rows: int) -> list[dict]:
    is_frames = entries[0].shard.table == FRAMES
    return sample(manifest, entries, num_rows, ("image",) if is_frames else ALL_COLUMNS)


def _compared(
    condition: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], most: float
) -> list[MeasureDrift]:
    from scipy.stats import ks_2samp

    found = []
    for name in ours:
        a, b = (side.get(name, np.zeros(0)) for side in (ours, theirs))
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if min(len(a), len(b)) < FEWEST:
            continue
        distance, p = map(float, ks_2samp(a, b))
        found.append(
            MeasureDrift(
                condition=condition,
                measure=name,
                median=float(np.median(a)),
                median_against=float(np.median(b)),
                num=len(a),
                num_against=len(b),
                distance=distance,
                p=p,
                drifted=distance > most and p < SURE,
            )
        )
    return found
