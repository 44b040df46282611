"""Scores of the images of one split by every model, in one order, as arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import BUCKETS

METRICS = ("abs_rel", "rmse", "d1")
COLUMNS = tuple(b.name for b in BUCKETS if b.name != "all")
CONDITIONS_OF = {bucket.name: bucket.conditions for bucket in BUCKETS}
Runs = Mapping[tuple[str, int], Evaluation]  # by arm and seed


class StudyScores:
    """Scores of every image, by arm, seed and metric, under the first cap without scaling.

    Raises InvalidRequest where two models were scored on other images.
    """

    def __init__(self, runs: Runs, baselines: Mapping[str, Evaluation]) -> None:
        self._values: dict[tuple[str, int], np.ndarray] = {}  # (images, metrics)
        self._frames: list[str] | None = None
        self._conditions: list[Condition] = []
        self._places: list[str] = []
        for (name, seed), evaluation in runs.items():
            self._values[name, seed] = self._read(name, evaluation)
        self._baselines = {name: self._read(name, e) for name, e in baselines.items()}
        self._in_bucket = {
            bucket: np.array([c in conditions for c in self._conditions], bool)
            for bucket, conditions in CONDITIONS_OF.items()
        }

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of models that were not trained by the study."""
        return tuple(self._baselines)

    def seeds(self, *arms: str) -> tuple[int, ...]:
        """Seeds that all these arms have."""
        found = [{seed for name, seed in self._values if name == arm} for arm in arms]
        return tuple(sorted(set.intersection(*found)))

    def places(self, bucket: str) -> list[str]:
        """Place of every image of a bucket."""
        return [p for p, there in zip(self._places, self._in_bucket[bucket], strict=True) if there]

    def values(self, arm: str, seeds: Sequence[int], bucket: str, metric: str) -> np.ndarray:
        """Scores (seeds, images) of an arm."""
        column, there = METRICS.index(metric), self._in_bucket[bucket]
        return np.stack([self._values[arm, seed][there, column] for seed in seeds])

    def baseline(self, name: str, bucket: str, metric: str) -> np.ndarray:
        """Scores (1, images) of a baseline."""
        return self._baselines[name][None, self._in_bucket[bucket], METRICS.index(metric)]

    def _read(self, name: str, evaluation: Evaluation) -> np.ndarray:
        cap_m = evaluation.settings.caps_m[0]
        images = [i for i in evaluation.images if i.cap_m == cap_m and i.scaling == "metric"]
        frames = [image.frame_id for image in images]
        if self._frames is None:
            self._frames = frames
            self._conditions = [image.condition for image in images]
            self._places = [image.drive_id for image in images]
        elif frames != self._frames:
            raise InvalidRequest(
                f"{name!r} was scored on other images than the rest of the study. Remove its "
                "evaluation and run the study again."
            )
        return np.array([[getattr(i.metrics, m) for m in METRICS] for i in images], np.float64)
