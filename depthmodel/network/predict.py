"""Prediction for images of any size: resize, run the network, resize the depth back."""

from collections.abc import Sequence

import numpy as np
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.auxview.view import AuxImage, stacked
from nightrain.depthmodel.decoders.base import resize
from nightrain.depthmodel.network.model import DepthModel


@torch.no_grad()
def predict(
    model: DepthModel,
    images: Sequence[np.ndarray],
    batch_size: int = 8,
    aux: Sequence[AuxImage | None] | None = None,
) -> list[np.ndarray]:
    """Predict depth (h, w) float32 in metres for each (h, w, 3) uint8 RGB image, of any sizes.

    Images are resized to `model.config.input_size`, the inverse depth is resized back. `aux` has
    an auxiliary image, or None, for each image. Runs in eval mode and restores the mode. Raises
    InvalidRequest for images of another shape or dtype.
    """
    views = [None] * len(images) if aux is None else list(aux)
    if len(views) != len(images):
        raise InvalidRequest(
            f"found {len(views)} views for {len(images)} images, expected one or None each"
        )
    for image in [*images, *(view.image for view in views if view is not None)]:
        _check_image(image)
    was_training = model.training
    model.eval()
    try:
        spans = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
        return [depth for s in spans for depth in _predict_batch(model, images[s], views[s])]
    finally:
        model.train(was_training)


def _predict_batch(
    model: DepthModel, images: Sequence[np.ndarray], views: Sequence[AuxImage | None]
) -> list[np.ndarray]:
    config, device = model.config, next(model.parameters()).device
    resized = np.stack([resize_image(image, config.input_size) for image in images])
    batch = torch.from_numpy(resized).to(device).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
    inverse_depth = model(batch, stacked(views, images, config.input_size, device)).inverse_depth
    depths: list[np.ndarray] = []
    for one, image in zip(inverse_depth.split(1), images, strict=True):
        depth_m = 1 / resize(one, (image.shape[0], image.shape[1]))[0, 0]
        depths.append(depth_m.clamp(config.min_depth_m, config.max_depth_m).cpu().numpy())
    return depths


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidRequest(
            f"found an image of shape {image.shape} and {image.dtype}, expected (h, w, 3) uint8 RGB"
        )
