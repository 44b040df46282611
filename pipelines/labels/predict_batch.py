"""Depth of a batch of pictures: one depth map or one failure per picture."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.labels.labelling_model import Teacher
from nightrain.pipelines.runs.batches import isolate_failures


def predict_each(
    teacher: Teacher, images: Sequence[np.ndarray], batch_size: int
) -> list[np.ndarray | DamagedInput]:
    """Depth (H, W) float32 in metres, all finite and positive, or a failure per picture.

    Where a batch fails, its pictures are tried alone. The model always gets `batch_size` pictures,
    the last one repeated: what a network gives for a picture depends in the last bits on how many
    there are, and must not depend on where a run was interrupted. Raises InvalidRequest, DiskFull.
    """

    def predict(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        padded = [*images, *[images[-1]] * (batch_size - len(images))]
        found = teacher.predict(padded)
        if len(found) != len(padded):
            raise ValueError(f"expected {len(padded)} depth maps, found {len(found)}")
        return found[: len(images)]

    outcomes = isolate_failures(images, predict)
    return [_checked(o, image) for o, image in zip(outcomes, images, strict=True)]


def _checked(outcome: np.ndarray | Exception, image: np.ndarray) -> np.ndarray | DamagedInput:
    """The depth as float32, or why there is none."""
    if isinstance(outcome, Exception):
        return DamagedInput(Reason.ENGINE_ERROR, f"{type(outcome).__name__}: {outcome}")
    depth_m = np.asarray(outcome)
    if depth_m.shape != image.shape[:2]:
        return DamagedInput(
            Reason.BAD_OUTPUT,
            f"the teacher gave depth of shape {depth_m.shape}, expected {image.shape[:2]}",
        )
    if bad := np.count_nonzero(~(np.isfinite(depth_m) & (depth_m > 0))):
        return DamagedInput(
            Reason.BAD_OUTPUT,
            f"{bad} of {depth_m.size} pixels of the teacher's depth are not finite or not positive",
        )
    return depth_m.astype(np.float32, copy=False)
