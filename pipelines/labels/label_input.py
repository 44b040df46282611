"""Label input: a clear frame at the size of its label, and the neighbours that check its depth."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.frame import Frame, scaled_intrinsics
from nightrain.datasets.io.images import JpegImage, resize_image
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.depthmodel.evaluation.confidence import SourceView


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelInput:
    """The clear image of a frame at the size of its label."""

    frame: Frame
    image: np.ndarray  # (H, W, 3) uint8
    intrinsics: np.ndarray  # (3, 3), pixels of `image`


def label_input(row: Row, size: tuple[int, int] | None) -> LabelInput:
    """Return the input of a frame's row, at (width, height) or its own; raises DamagedInput."""
    frame = frame_from_row(row)
    image, intrinsics = _at_size(frame.image, frame.intrinsics, size)
    return LabelInput(frame=frame, image=image, intrinsics=intrinsics)


def neighbour_views(given: LabelInput) -> list[SourceView]:
    """Return the neighbours at the input's size, without absent or damaged ones."""
    size = (given.image.shape[1], given.image.shape[0])
    views = []
    for neighbour in (given.frame.previous, given.frame.next):
        if neighbour is None:
            continue
        try:
            image, intrinsics = _at_size(neighbour.image, neighbour.intrinsics, size)
        except DamagedInput:  # the label is valid without it; its confidence_source shows that
            continue
        views.append(
            SourceView(
                image=image, intrinsics=intrinsics, T_view_camera=neighbour.T_neighbour_camera
            )
        )
    return views


def _at_size(
    jpeg: JpegImage, intrinsics: np.ndarray, size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    image = jpeg.pixels()
    own = (image.shape[1], image.shape[0])
    return resize_image(image, size or own), scaled_intrinsics(intrinsics, own, size or own)
