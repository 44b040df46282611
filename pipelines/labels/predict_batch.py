"""Batch prediction: one depth map or one failure per image."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason, RunFailure
from nightrain.pipelines.labels.labelling_model import LabellingModel
from nightrain.pipelines.runs.batches import isolate_failures
from nightrain.pipelines.runs.device_errors import is_out_of_memory


def predict_each(
    model: LabellingModel, images: Sequence[np.ndarray], batch_size: int
) -> list[np.ndarray | DamagedInput]:
    """Predict depth (H, W) float32 in metres, finite and positive, or a failure per image.

    If a batch fails, its images are tried alone. The model always gets `batch_size` images, the
    last one repeated: the last bits of a network's output depend on the batch size, and must not
    depend on where a run was interrupted. For the same reason a batch that does not fit into memory
    is not halved. Raises InvalidRequest, DiskFull, and RunFailure if memory runs out.
    """

    def predict(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        padded = [*images, *[images[-1]] * (batch_size - len(images))]
        try:
            found = model.predict(padded)
        except Exception as error:
            if is_out_of_memory(error):
                raise RunFailure(_too_large(batch_size)) from error
            raise
        if len(found) != len(padded):
            raise ValueError(f"expected {len(padded)} depth maps, found {len(found)}")
        return found[: len(images)]

    outcomes = isolate_failures(images, predict)
    return [_checked(o, image) for o, image in zip(outcomes, images, strict=True)]


def _too_large(batch_size: int) -> str:
    found = f"A batch of {batch_size} images does not fit into memory, so the run was ended and the"
    if batch_size == 1:
        return (
            f"{found} shard was not committed. End other programs that use the memory, or label "
            "with a smaller model."
        )
    return (
        f"{found} shard was not committed. Run it again with `--batch-size {batch_size // 2}`: its "
        "labels get a table of their own, because their last digits depend on the batch size."
    )


def _checked(outcome: np.ndarray | Exception, image: np.ndarray) -> np.ndarray | DamagedInput:
    """Return the depth as float32, or the reason why it is rejected."""
    if isinstance(outcome, Exception):
        return DamagedInput(Reason.ENGINE_ERROR, f"{type(outcome).__name__}: {outcome}")
    depth_m = np.asarray(outcome)
    if depth_m.shape != image.shape[:2]:
        return DamagedInput(
            Reason.BAD_OUTPUT,
            f"the model returned depth of shape {depth_m.shape}, expected {image.shape[:2]}",
        )
    if bad := np.count_nonzero(~(np.isfinite(depth_m) & (depth_m > 0))):
        return DamagedInput(
            Reason.BAD_OUTPUT,
            f"{bad} of {depth_m.size} pixels of the model's depth are not finite or not positive",
        )
    return depth_m.astype(np.float32, copy=False)
