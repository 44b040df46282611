"""Depth of pictures of any size, by a network that wants one size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.auxview.view import AuxPicture, stacked
from nightrain.depthmodel.decoders.dpt import resize

if TYPE_CHECKING:
    from nightrain.depthmodel.network.model import DepthModel


def predict_pictures(
    model: "DepthModel",
    images: Sequence[np.ndarray],
    batch_size: int,
    aux: Sequence[AuxPicture | None] | None,
) -> list[np.ndarray]:
    """What `DepthModel.predict` says; raises InvalidRequest."""
    views = [None] * len(images) if aux is None else list(aux)
    if len(views) != len(images):
        raise InvalidRequest(
            f"found {len(views)} views for {len(images)} images, expected one or None each"
        )
    for image in [*images, *(view.image for view in views if view is not None)]:
        _check_picture(image)
    was_training = model.training
    model.eval()
    try:
        spans = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
        return [depth for s in spans for depth in _predict_batch(model, images[s], views[s])]
    finally:
        model.train(was_training)


def _predict_batch(
    model: "DepthModel", images: Sequence[np.ndarray], views: Sequence[AuxPicture | None]
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


def _check_picture(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidRequest(
            f"found an image of shape {image.shape} and {image.dtype}, expected (h, w, 3) uint8 RGB"
        )
