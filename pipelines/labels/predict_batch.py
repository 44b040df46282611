"""Asking a teacher: one depth map or one failure per picture."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.errors import DamagedInput, DiskFull, InvalidRequest, Reason
from nightrain.pipelines.labels.labelling_model import Teacher


def predict_each(
    teacher: Teacher, images: Sequence[np.ndarray], batch_size: int
) -> list[np.ndarray | DamagedInput]:
    """Depth (H, W) float32 in metres, all finite and positive, or a failure per picture.

    Where a batch fails, its pictures are tried alone. A teacher always gets `batch_size` pictures,
    the last one repeated: what a network gives for a picture depends in the last bits on how many
    there are, and must not depend on where a run was interrupted. Raises InvalidRequest, DiskFull.
    """
    if not images:
        return []
    padded = [*images, *[images[-1]] * (batch_size - len(images))]
    try:
        found = teacher.predict(padded)
        if len(found) != len(padded):
            raise ValueError(f"{len(padded)} depth maps were asked for, {len(found)} came")
    except (InvalidRequest, DiskFull):  # no other picture would fare better
        raise
    except Exception as error:  # some picture's fault: find out whose
        if len(images) == 1:
            return [DamagedInput(Reason.ENGINE_ERROR, f"{type(error).__name__}: {error}")]
        return [depth for image in images for depth in predict_each(teacher, [image], batch_size)]
    return [_checked(np.asarray(found[i]), image) for i, image in enumerate(images)]


def _checked(depth_m: np.ndarray, image: np.ndarray) -> np.ndarray | DamagedInput:
    """The depth as float32, or why it is none."""
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
