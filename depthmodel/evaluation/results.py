"""Results of an evaluation: scores of images, means by condition, images that were skipped.

Metrics are computed per image and then averaged. Images of one scene resemble each other, and so
do scenes of one drive (the built-in world renders a drive under several conditions), so the
standard error counts drives, not images.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError, UnreadableFile
from nightrain.datasets.io.atomic import no_space_is_disk_full, write_whole
from nightrain.datasets.io.regular import read_regular, sha256_of
from nightrain.datasets.validation import in_one_line
from nightrain.depthmodel.evaluation.metrics import METRICS, DepthMetrics
from nightrain.depthmodel.evaluation.settings import BUCKETS, Bucket, EvaluationSettings, Scaling

EVALUATION_FILE, IMAGES_FILE = "evaluation.json", "images.parquet"
SUMS_FILE = "SHA256SUMS"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageScore(_Frozen):
    """Metrics of one image under one cap and scaling."""

    frame_id: str
    scene_id: str
    drive_id: str  # drive that the scene is part of
    condition: Condition
    cap_m: float
    scaling: Scaling
    metrics: DepthMetrics


class SkippedImage(_Frozen):
    """An image that could not be scored under a cap, with the reason."""

    frame_id: str
    scene_id: str
    condition: Condition
    cap_m: float
    reason: str


class MetricMean(_Frozen):
    """Mean over images, and its standard error by drive: None for a single drive."""

    mean: float
    standard_error: float | None


class Score(_Frozen):
    """Means over the images of a bucket; `metrics` is None for a bucket without scored images."""

    bucket: str
    cap_m: float
    scaling: Scaling
    num_images: int  # scored
    num_scenes: int  # scenes of the scored images
    num_drives: int
    num_skipped: int  # images of the bucket without valid truth
    metrics: dict[str, MetricMean] | None


class Evaluation(_Frozen):
    """Scores of a model on the frames of a split, by condition."""

    model: str
    model_digest: str = ""
    dataset: str  # name of its folder
    frames_sha256: str  # of the images and truths, in order; equal digests mean the same test
    sources: dict[str, int]  # frames by source
    settings: EvaluationSettings
    scores: tuple[Score, ...]
    skipped: tuple[SkippedImage, ...]
    images: tuple[ImageScore, ...] = Field(default=(), exclude=True, repr=False)

    def score(
        self, bucket: str, cap_m: float | None = None, scaling: Scaling | None = None
    ) -> Score:
        """Score of a bucket, by default of the first cap and scaling; raises InvalidRequest."""
        cap_m = self.settings.caps_m[0] if cap_m is None else cap_m
        scaling = self.settings.scalings[0] if scaling is None else scaling
        for score in self.scores:
            if (score.bucket, score.cap_m, score.scaling) == (bucket, cap_m, scaling):
                return score
        raise InvalidRequest(
            f"the evaluation of {self.model!r} has no score of {bucket!r} within {cap_m:g} m with "
            f"scaling {scaling!r}; it has caps {self.settings.caps_m} and scalings "
            f"{self.settings.scalings}."
        )


def summarise(
    settings: EvaluationSettings, images: Sequence[ImageScore], skipped: Sequence[SkippedImage]
) -> tuple[Score, ...]:
    """Compute the scores of all buckets, caps and scalings, in this order."""
    return tuple(
        _summary(
            bucket,
            cap_m,
            scaling,
            [i for i in images if i.cap_m == cap_m and i.scaling == scaling],
            [s for s in skipped if s.cap_m == cap_m],
        )
        for bucket in BUCKETS
        for cap_m in settings.caps_m
        for scaling in settings.scalings
    )


def _summary(
    bucket: Bucket,
    cap_m: float,
    scaling: Scaling,
    images: Sequence[ImageScore],
    skipped: Sequence[SkippedImage],
) -> Score:
    scored = [i for i in images if i.condition in bucket.conditions]
    drives = [i.drive_id for i in scored]
    values = np.array([i.metrics for i in scored], np.float64)  # (images, metrics)
    metrics = {
        name: MetricMean(
            mean=float(values[:, k].mean()), standard_error=standard_error(values[:, k], drives)
        )
        for k, name in enumerate(METRICS)
        if scored
    }
    return Score(
        bucket=bucket.name,
        cap_m=cap_m,
        scaling=scaling,
        num_images=len(scored),
        num_scenes=len({i.scene_id for i in scored}),
        num_drives=len(set(drives)),
        num_skipped=sum(s.condition in bucket.conditions for s in skipped),
        metrics=metrics or None,
    )


def standard_error(values: np.ndarray, groups: Sequence[str]) -> float | None:
    """Cluster-robust standard error of the mean of values (N,), with a group for each value.

    sqrt(G / (G - 1) sum_g (sum_{i in g} x_i - mean)^2) / N with G groups (Liang and Zeger 1986);
    None for a single group.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(group_of, values - values.mean())
    return float(np.sqrt(len(names) / (len(names) - 1) * np.sum(sums**2)) / len(values))


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write evaluation.json with the means and images.parquet with a row per image and score.

    Each file is written whole, and last SHA256SUMS with the digests of both. Raises DiskFull.
    """
    rows = [
        {**i.model_dump(mode="json", exclude={"metrics"}), **i.metrics._asdict()}
        for i in evaluation.images
    ]
    table = pa.Table.from_pylist(rows)
    with no_space_is_disk_full(folder):
        write_whole(folder / IMAGES_FILE, lambda draft: pq.write_table(table, draft))
        write_whole(folder / EVALUATION_FILE, evaluation.model_dump_json(indent=1) + "\n")
        sums = (f"{sha256_of(folder / name)}  {name}\n" for name in (EVALUATION_FILE, IMAGES_FILE))
        write_whole(folder / SUMS_FILE, "".join(sums))


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation and the scores of its images; raises NightrainError."""
    try:
        sums = read_regular(folder / SUMS_FILE).decode().splitlines()
        text, images_data = (_checked(folder, n, sums) for n in (EVALUATION_FILE, IMAGES_FILE))
        evaluation = Evaluation.model_validate_json(text)
        rows = pq.read_table(pa.BufferReader(images_data)).to_pylist()
        images = tuple(_image_score(row) for row in rows)
    except (OSError, UnreadableFile, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise NightrainError(
            f"{folder} holds no complete evaluation: {in_one_line(error)}. Run "
            "`nightrain evaluate` again."
        ) from error
    if summarise(evaluation.settings, images, evaluation.skipped) != evaluation.scores:
        raise NightrainError(
            f"the images in {folder / IMAGES_FILE} do not have the means in {EVALUATION_FILE}: the "
            "files are of two evaluations. Run `nightrain evaluate` again."
        )
    return evaluation.model_copy(update={"images": images})


def _checked(folder: Path, name: str, sums: Sequence[str]) -> bytes:
    """Read a file that has its digest in the list; a changed file is never parsed."""
    data = read_regular(folder / name)
    if f"{hashlib.sha256(data).hexdigest()}  {name}" not in sums:
        raise ValueError(f"{name} is damaged, or the files are of two evaluations")
    return data


def _image_score(row: dict) -> ImageScore:
    metrics = DepthMetrics(**{name: row.pop(name) for name in METRICS})
    return ImageScore.model_validate({**row, "metrics": metrics})
