"""Datasets for evaluations: known conditions, and truth that is there, sparse or absent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.io.images import JpegImage, decode_depth_png, encode_depth_png, encode_jpeg
from support.synthetic import SyntheticSource, ground_depth_m, ingest_synthetic

CLEAR, NIGHT, RAIN = Condition.CLEAR, Condition.NIGHT, Condition.RAIN
NIGHT_RAIN = Condition.NIGHT_RAIN
# Two scenes of four frames; rows of the ground that the LiDAR saw, None where it did not run.
CONDITIONS = (CLEAR, CLEAR, CLEAR, RAIN, NIGHT, NIGHT, NIGHT_RAIN, NIGHT_RAIN)
FIRST_ROWS = (21, 30, 21, 38, 25, 40, 21, None)


@dataclass(frozen=True)
class EvaluationSource(SyntheticSource):
    """Frame k is of the grey level 20 + 20 k, so that a predictor can tell which it sees."""

    num_frames: int = 8
    split: str = "val"
    num_drives: int = 2

    def ref(self, index: int) -> FrameRef:
        drive = f"drive-{(index // 4) % self.num_drives}"
        return replace(super().ref(index), condition=CONDITIONS[index], log_id=drive)

    def load(self, ref: FrameRef) -> Frame:
        index = int(ref.source_id)
        level = np.full((40, 64, 3), 20 + 20 * index, np.uint8)
        return replace(
            super().load(ref),
            condition=ref.condition,
            image=JpegImage(encode_jpeg(level)),
            lidar_depth_m=lidar_depth_m(index),
        )


def true_depth_m() -> np.ndarray:
    """What is stored of the ground (40, 64): multiples of 1/256 m, 0 for the sky."""
    return decode_depth_png(encode_depth_png(ground_depth_m()))


def lidar_depth_m(index: int) -> np.ndarray | None:
    """The ground of frame `index` from its first row on."""
    first = FIRST_ROWS[index]
    if first is None:
        return None
    return np.where(np.arange(40)[:, None] >= first, true_depth_m(), 0).astype(np.float32)


def index_of(image: np.ndarray) -> int:
    """Which frame an image is."""
    return round((float(image.mean()) - 20) / 20)


def make_dataset(root: Path, num_drives: int = 2) -> Path:
    ingest_synthetic(root, EvaluationSource(num_drives=num_drives))
    return root


def perfect(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A predictor that knows the ground, 60 m for the sky."""
    return [np.where(true_depth_m() > 0, true_depth_m(), 60.0).astype(np.float32) for _ in images]


def by_frame(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A predictor whose error depends on the frame and on the place."""
    slope = np.linspace(0.9, 1.2, 64)
    return [
        (p * slope * (1 + 0.1 * index_of(image))).astype(np.float32)
        for image, p in zip(images, perfect(images), strict=True)
    ]
