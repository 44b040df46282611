"""Training samples of depth completion: crops of rendered clear frames with simulated LiDAR.

A sample is a function of (seed, number): its frame, crop, sensor, faults and colours.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.frame import Frame
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.depthmodel.completion.colours import recoloured
from nightrain.depthmodel.completion.inputs import completion_inputs
from nightrain.depthmodel.completion.simulated_lidar import (
    KITTI,
    NUSCENES,
    LidarSettings,
    simulated_returns,
    with_faults,
    with_parallax,
    without_rings,
)

SIZES = ((384, 224), (320, 192), (448, 128))  # (width, height) of batches, in turn
SMALLEST_CROP = 0.55  # of the frame's width
DEPTH_FACTOR = (0.75, 1.35)  # as if the camera hung lower or higher
HOLE_SHARE = 0.2  # of the samples lack the returns of a rectangle, as of dark or wet surfaces
RECORDED_SHARE, KITTI_SHARE = 0.45, 0.3  # of the samples; the others have LiDAR of random rings


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """Batch of samples at one size."""

    image: Tensor  # (B, 3, H, W) normalised
    planes: Tensor  # (B, 8, H, W), as of `completion_inputs`
    exact_m: Tensor  # (B, 1, H, W) metres, 0 = sky


class CompletionSet:
    """Clear frames of one split of a dataset that have exact depth and LiDAR, in memory as stored.

    Raises InvalidRequest if there are none.
    """

    def __init__(self, dataset: Path, split: str = "train") -> None:
        self.rows = clear_rows(dataset, split)
        if not self.rows:
            raise InvalidRequest(
                f"{dataset} has no clear {split} frames with exact depth and LiDAR. Render a world "
                "with `nightrain world` and ingest it."
            )

    def batch(self, seed: int, step: int, num: int) -> CompletionBatch:
        """Return batch number `step` of `num` samples."""
        size = SIZES[step % len(SIZES)]
        samples = [self._sample(seed, step * num + k, size) for k in range(num)]
        parts = (torch.stack(list(part)) for part in zip(*samples, strict=True))
        return CompletionBatch(*parts)

    def _sample(self, seed: int, number: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = divmod(number, len(self.rows))
        order = np.random.default_rng((seed, 1, epoch)).permutation(len(self.rows))
        rng = np.random.default_rng((seed, 2, number))
        while True:
            frame = frame_from_row(self.rows[order[index]])
            try:
                return _augmented(frame, size, rng)
            except DamagedInput:  # too few returns in the crop: draw another one
                continue


def clear_rows(dataset: Path, split: str) -> list[Row]:
    """Rows of the clear frames of a split that have exact depth and LiDAR."""
    manifest = Manifest(dataset)
    return [
        row
        for entry in manifest.entries(FRAMES)
        if entry.about.get("split") == split and entry.about.get("condition") == "clear"
        for row in manifest.reader(entry.rows).rows(GENERATION_COLUMNS)
        if row["exact_depth"] is not None and row["lidar_depth"] is not None
    ]


def _augmented(
    frame: Frame, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Image (3, H, W), planes (8, H, W) and exact depth (1, H, W) of a random crop of a frame."""
    exact_m, sparse_m = frame.exact_depth_m, _returns(frame, rng)
    assert exact_m is not None
    image = frame.image.pixels()
    crop = _crop((image.shape[0], image.shape[1]), size, rng)
    image, exact_m, sparse_m = (values[crop] for values in (image, exact_m, sparse_m))
    if rng.random() < 0.5:
        image, exact_m, sparse_m = (
            np.ascontiguousarray(values[:, ::-1]) for values in (image, exact_m, sparse_m)
        )
    factor = np.float32(np.exp(rng.uniform(*np.log(DEPTH_FACTOR))))
    image = recoloured(image, exact_m == 0, rng)
    planes = completion_inputs(image, sparse_m * factor, size)
    exact_m = cv2.resize(exact_m * factor, size, interpolation=cv2.INTER_NEAREST)
    return (*planes, torch.from_numpy(exact_m)[None])


def _returns(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Sparse depth (H, W) of the recorded LiDAR or of a simulated one, with faults."""
    exact_m, sparse_m, draw = frame.exact_depth_m, frame.lidar_depth_m, rng.random()
    assert exact_m is not None
    assert sparse_m is not None
    if draw < RECORDED_SHARE:
        hidden = rng.random(NUSCENES.num_rings) < rng.choice([0.0, 0.15, 0.5], p=[0.5, 0.3, 0.2])
        sparse_m = without_rings(sparse_m, frame.intrinsics, hidden)
    else:
        lidar = _moved(KITTI if draw < RECORDED_SHARE + KITTI_SHARE else _any_lidar(rng), rng)
        sparse_m = simulated_returns(exact_m, frame.intrinsics, lidar)
        sparse_m = with_parallax(sparse_m, exact_m, rng, share=rng.uniform(0.0, 0.5))
    if rng.random() < HOLE_SHARE:
        sparse_m = _with_hole(sparse_m, rng)
    return with_faults(sparse_m, rng)


def _with_hole(sparse_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sparse depth (H, W) without the returns of a random rectangle."""
    height, width = sparse_m.shape
    top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width))
    sparse_m = sparse_m.copy()
    sparse_m[top : top + height // 3, left : left + width // 3] = 0
    return sparse_m


def _any_lidar(rng: np.random.Generator) -> LidarSettings:
    return LidarSettings(
        lowest_deg=rng.uniform(-31, -15),
        highest_deg=rng.uniform(2, 15),
        num_rings=int(rng.integers(16, 65)),
        azimuth_step_deg=rng.uniform(0.15, 0.6),
        place_m=NUSCENES.place_m,
    )


def _moved(lidar: LidarSettings, rng: np.random.Generator) -> LidarSettings:
    x, y, z = lidar.place_m
    place = (x + rng.normal(0, 0.1), y + rng.normal(0, 0.15), z + rng.normal(0, 0.2))
    shift = rng.normal(0, 1.0)  # pitch of the LiDAR, and phase of its rings
    return replace(
        lidar,
        lowest_deg=lidar.lowest_deg + shift,
        highest_deg=lidar.highest_deg + shift,
        place_m=place,
    )


def _crop(
    shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a random crop of nearly the aspect of `size`."""
    width = shape[1] * rng.uniform(SMALLEST_CROP, 1.0)
    height = min(shape[0], width * size[1] / size[0] * rng.uniform(0.93, 1.07))
    top = int(rng.integers(0, shape[0] - int(height) + 1))
    left = int(rng.integers(0, shape[1] - int(width) + 1))
    return slice(top, top + int(height)), slice(left, left + int(width))
