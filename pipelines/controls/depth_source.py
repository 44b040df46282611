"""Depth source interface: images in, relative inverse depth out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.runs.batches import run_padded

LEAST_DEPTH_M = 0.1  # smaller depths predicted by a network are raised to this


class DepthInput(Protocol):
    """Input of a depth source; PreparedFrame and Request implement it."""

    @property
    def image(self) -> np.ndarray:
        """Image (H, W, 3) uint8, sRGB."""
        ...

    @property
    def depth_m(self) -> np.ndarray | None:
        """Dense depth (H, W) float32, metres, > 0, sky = inf; None where unknown."""
        ...

    @property
    def intrinsics(self) -> np.ndarray:
        """Intrinsics (3, 3) float64, pixels of `image`."""
        ...


@dataclass(frozen=True, slots=True)
class RelativeDepth:
    """Inverse depth up to scale, larger = nearer; raises DamagedInput if it is not finite."""

    inverse_depth: np.ndarray  # (H, W) float32, finite
    sky: np.ndarray | None = None  # (H, W) bool; None: the source does not detect sky
    is_metric: bool = False  # in 1/m, rather than up to an unknown scale and shift

    def __post_init__(self) -> None:
        values = self.inverse_depth
        if values.ndim != 2 or values.dtype != np.float32:
            raise ValueError(f"expected (H, W) float32, found {values.shape} {values.dtype}")
        if not np.isfinite(values).all():
            raise DamagedInput(
                Reason.BAD_OUTPUT,
                f"{np.count_nonzero(~np.isfinite(values))} of {values.size} inverse depths are not "
                "finite; run the depth network in float32",
            )


class DepthSource(Protocol):
    """Estimates or provides the depth of an image."""

    @property
    def name(self) -> str:
        """Identity of source and weights: "given", "network:Intel/dpt-large@bc15f29aa3a8:..."."""
        ...

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return inverse depth at the size of the image; raises DamagedInput, InvalidRequest."""
        ...


@runtime_checkable
class BatchedSource(DepthSource, Protocol):
    """Depth source that takes several images at a time: a network."""

    def depths(self, scenes: Sequence[DepthInput]) -> list[RelativeDepth]:
        """Return the inverse depth of each image; raises DamagedInput, InvalidRequest."""
        ...


def depths_of(source: DepthSource, scenes: Sequence[DepthInput]) -> list[RelativeDepth]:
    """Inverse depth of each image, in batches if the source takes them.

    A batch that runs out of memory is halved. Raises what the source raises.
    """
    if isinstance(source, BatchedSource):
        return [depth for depth, _ in run_padded(scenes, max(1, len(scenes)), source.depths)]
    return [source.depth(scene) for scene in scenes]


@dataclass(frozen=True, slots=True)
class ImageWindow:
    """Depth input built from parts: a window of a frame, or a single image."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    intrinsics: np.ndarray  # (3, 3) float64, pixels of `image`
    depth_m: np.ndarray | None = None  # (H, W) float32, dense, metres; sky = inf
    lidar_depth_m: np.ndarray | None = None  # (H, W) float32, metres, 0 = no return


def image_windows(
    images: Sequence[np.ndarray], lidar_depths_m: Sequence[np.ndarray | None] | None = None
) -> list[ImageWindow]:
    """Depth inputs of images (H, W, 3) uint8 and, where given, their LiDAR depths (H, W)."""
    depths = [None] * len(images) if lidar_depths_m is None else lidar_depths_m
    return [
        ImageWindow(image, np.eye(3), lidar_depth_m=depth)
        for image, depth in zip(images, depths, strict=True)
    ]


def inverse_of_metric(depth_m: np.ndarray) -> np.ndarray:
    """Inverse depth (H, W) float32, 1/m, of depth in metres; 0 where the depth is infinite."""
    return (1.0 / np.maximum(depth_m, np.float32(LEAST_DEPTH_M))).astype(np.float32)


def at_size(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W) float32 to (width, height): area averaging down, linear up."""
    if (values.shape[1], values.shape[0]) == size:
        return values
    shrinking = size[0] <= values.shape[1] and size[1] <= values.shape[0]
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
