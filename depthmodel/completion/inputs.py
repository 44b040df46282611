"""Inputs of the completion network: an image and sparse depth at the network's size, as planes."""

import cv2
import numpy as np
import torch
from torch import Tensor

from nightrain.datasets.geometry.completion import MAX_COMPLETED_M, complete_depth
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.depthmodel.completion.network import LOG_CENTRE, MULTIPLE
from nightrain.depthmodel.network.encoder import IMAGENET_MEAN, IMAGENET_STD

WORK_PIXELS = 384 * 224  # about the number of pixels that the network works at
MIN_DEPTH_M = 0.5
SKY, MEASURED, MASK = 1, 3, 4  # planes: the classical sky, the returns' log depth and places
GAP_PX = 40.0  # distance to the nearest return that is shown as 1


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Size (width, height) at which the network works on an image: multiples of 32, like aspect.

    Images are never enlarged by more than rounding.
    """
    shrink = min(1.0, (WORK_PIXELS / (size[0] * size[1])) ** 0.5)
    return (_multiple(size[0] * shrink), _multiple(size[1] * shrink))


def completion_inputs(
    image: np.ndarray, sparse_m: np.ndarray, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return a normalised image (3, h, w) and planes (8, h, w) float32 at `size` = (w, h).

    `image` (H, W, 3) uint8 and `sparse_m` (H, W) in metres, 0 = none. The planes are the log depth
    of the classical completion, its sky, the returns' difference from it, their log depth, their
    mask, the distance to the nearest return, the nearest return's log depth and the grey image.
    Raises DamagedInput(NO_DEPTH) for fewer than 16 returns.
    """
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    returns = scatter_min_resize(sparse_m, size)
    base_m = complete_depth(returns, small)
    return image_tensor(small), planes_of(small, returns, base_m)


def image_tensor(image: np.ndarray) -> Tensor:
    """Normalise an image (H, W, 3) uint8 with the statistics of ImageNet: (3, H, W) float32."""
    pixels = image.astype(np.float32) / 255
    mean, std = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normal = (pixels - mean) / std
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))


def planes_of(image: np.ndarray, returns_m: np.ndarray, base_m: np.ndarray) -> Tensor:
    """Planes (8, H, W) float32 of an image, returns and a completed depth of equal size."""
    mask = returns_m > 0
    base = log_depth(base_m)
    measured = np.where(mask, log_depth(returns_m), 0.0)
    distance, nearest = nearest_return(mask)
    planes = (
        base - LOG_CENTRE,
        np.isinf(base_m),
        np.where(mask, measured - base, 0.0),
        np.where(mask, measured - LOG_CENTRE, 0.0),
        mask,
        np.minimum(distance / GAP_PX, 1.0),
        measured[nearest] - LOG_CENTRE if mask.any() else np.zeros_like(base),
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 - 0.5,
    )
    return torch.from_numpy(np.stack([p.astype(np.float32) for p in planes]))


def log_depth(depth_m: np.ndarray) -> np.ndarray:
    """Log of depth in metres (H, W), with sky and distant pixels at 200 m."""
    return np.log(np.clip(depth_m, MIN_DEPTH_M, MAX_COMPLETED_M)).astype(np.float32)


def nearest_return(mask: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Distance (H, W) in pixels to the nearest return, and its row and column, each (H, W)."""
    if not mask.any():
        zeros = np.zeros(mask.shape, np.intp)
        return np.full(mask.shape, np.inf, np.float32), (zeros, zeros)
    distance, label = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(mask)
    at = np.zeros(label.max() + 1, np.intp)
    at[label[rows, columns]] = np.arange(len(rows))
    return distance, (rows[at[label]], columns[at[label]])


def _multiple(side: float) -> int:
    return MULTIPLE * max(2, round(side / MULTIPLE))
