"""Constant median-depth baseline: the train set's median depth at each pixel."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.index import default_split_of
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.splits import Split
from nightrain.depthmodel.evaluation.frames import EvaluationFrames
from nightrain.depthmodel.evaluation.settings import Truth

NEAREST_M, FARTHEST_M = 0.1, 80.0
NUM_LEVELS = 512  # of log depth: 1.3 % each
GRID = (112, 64)  # (width, height), cells
MIN_HITS_PER_FRAME = 0.05  # in a cell, on average; fewer are LiDAR returns of rain in the sky


class MedianDepth:
    """Constant median-depth baseline: predicts the same depth map (h, w) for every image."""

    def __init__(self, depth_m: np.ndarray) -> None:
        self.depth_m = depth_m.astype(np.float32)  # (h, w), metres

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Depth (h, w) in metres for each image (h, w, 3), at the size of the image."""
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        return [cv2.resize(self.depth_m, size) for size in sizes]

    @classmethod
    def fit(
        cls,
        root: Path,
        *,
        split: Split | None = None,
        truth: Truth = "lidar",
        cameras: tuple[str, ...] = (),
        grid: tuple[int, int] = GRID,
        progress: Callable[[int, int], None] | None = None,
    ) -> "MedianDepth":
        """Fit the baseline to the ground truth of a split, in a grid of (width, height) cells.

        None is the split that is trained on by default. Raises InvalidRequest for a split without
        ground truth.
        """
        split = split or default_split_of(Manifest(root), "train")
        frames = EvaluationFrames(root, split=split, truth=truth, cameras=cameras)
        counts = np.zeros((grid[1] * grid[0], NUM_LEVELS), np.int64)
        for done in range(len(frames)):
            truth_m = frames[done].truth_m
            if truth_m is not None:
                counts += _histogram(truth_m, grid)
            if progress is not None:
                progress(done + 1, len(frames))
        seen = counts.sum(axis=1) >= MIN_HITS_PER_FRAME * len(frames)
        if not seen.any():
            raise InvalidRequest(
                f"no frame of {split} in {root} has {truth} depth. Choose another truth or split."
            )
        return cls(_filled(np.where(seen, _medians(counts), np.nan).reshape(grid[1], grid[0])))


def _histogram(truth_m: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Number of depths per cell and level of log depth: (cells, NUM_LEVELS)."""
    v, u = np.nonzero((truth_m > NEAREST_M) & (truth_m < FARTHEST_M))
    height, width = truth_m.shape
    cell = v * grid[1] // height * grid[0] + u * grid[0] // width
    share = np.log(truth_m[v, u] / NEAREST_M) / np.log(FARTHEST_M / NEAREST_M)  # in (0, 1)
    level = np.minimum((share * NUM_LEVELS).astype(np.int64), NUM_LEVELS - 1)
    size = grid[0] * grid[1] * NUM_LEVELS
    return np.bincount(cell * NUM_LEVELS + level, minlength=size).reshape(-1, NUM_LEVELS)


def _medians(counts: np.ndarray) -> np.ndarray:
    """Median depth of each cell (cells,), in the middle of its level."""
    running = counts.cumsum(axis=1)
    level = np.argmax(2 * running >= running[:, -1:], axis=1)
    return NEAREST_M * (FARTHEST_M / NEAREST_M) ** ((level + 0.5) / NUM_LEVELS)


def _filled(depth_m: np.ndarray) -> np.ndarray:
    """Depth (h, w) with each NaN replaced by the nearest cell that has a depth."""
    nearest = distance_transform_edt(np.isnan(depth_m), return_distances=False, return_indices=True)
    v, u = np.asarray(nearest)  # each (h, w)
    return depth_m[v, u]
