"""Depth networks of either kind behind one call, and the files that their depth is written to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.io.atomic import make_folder, write_whole
from nightrain.datasets.io.images import (
    MAX_DEPTH_M,
    encode_depth_png,
    encode_jpeg,
    encode_levels_png,
)

MOST_LEVEL = 65535


class Prediction(NamedTuple):
    """What a network says of one picture, at its size."""

    values: np.ndarray  # (H, W) float32: metres, or relative inverse depth
    is_metric: bool


DepthNetwork = Callable[[Sequence[np.ndarray]], list[Prediction]]


def load_depth_network(folder: Path, device: str) -> DepthNetwork:
    """Network of a model folder of nightrain, or of one that transformers saved.

    Raises InvalidRequest for any other folder, and for a device that is not there.
    """
    import torch

    from nightrain.depthmodel.network.model import DepthModel
    from nightrain.depthmodel.network.predict import predict
    from nightrain.depthmodel.transformers_depth import is_of_transformers, load_foundation

    if is_of_transformers(folder):
        inverse = load_foundation(folder)

        def relative(images: Sequence[np.ndarray]) -> list[Prediction]:
            sizes = [image.shape[1::-1] for image in images]
            found = zip(inverse(images), sizes, strict=True)
            return [Prediction(cv2.resize(one, size), is_metric=False) for one, size in found]

        return relative
    model = DepthModel.from_pretrained(folder)
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InvalidRequest(f"--device {device}: {str(error).splitlines()[0]}") from error

    def metric(images: Sequence[np.ndarray]) -> list[Prediction]:
        return [Prediction(depth_m, is_metric=True) for depth_m in predict(model, images)]

    return metric


def write_depth(found: Prediction, files: Mapping[str, Path]) -> None:
    """Write a prediction in the forms npy, png16 and colour; each file is there whole or not."""
    for form, path in files.items():
        make_folder(path.parent)
        if form == "npy":
            write_whole(path, lambda draft: _save_array(draft, found))
        else:
            write_whole(path, _png16(found) if form == "png16" else encode_jpeg(coloured(found)))


def _save_array(draft: Path, found: Prediction) -> None:
    with draft.open("wb") as file:
        np.save(file, found.values.astype(np.float32), allow_pickle=False)


def _png16(found: Prediction) -> bytes:
    """Metres x 256, or inverse depth from 1 (least) to 65535 (largest); 0 is none."""
    if found.is_metric:
        return encode_depth_png(np.minimum(found.values, MAX_DEPTH_M))
    low, high = float(found.values.min()), float(found.values.max())
    share = (found.values - low) / max(high - low, 1e-9)
    return encode_levels_png((1 + np.rint(share * (MOST_LEVEL - 1))).astype(np.uint16))


def coloured(found: Prediction) -> np.ndarray:
    """Picture (H, W, 3) of a prediction; near is bright."""
    from nightrain.pipelines.inspect.contact_sheet import colour_depth

    if found.is_metric:
        return colour_depth(found.values)
    low, high = np.percentile(found.values, (1, 99))
    levels = np.clip(255 * (found.values - low) / max(high - low, 1e-9), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


class VideoFrames:
    """Frames of a video file, read in order where possible."""

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, 0
        self._capture = cv2.VideoCapture(str(path))
        self._count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not self._capture.isOpened() or not self._count:
            raise InvalidRequest(
                f"{path} is not a video that OpenCV can read. Convert it, for example to mp4."
            )

    def __len__(self) -> int:
        return self._count

    def read(self, number: int) -> np.ndarray:
        """Frame (H, W, 3) uint8 RGB; raises DamagedInput for one that cannot be decoded."""
        if number != self._next:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        there, image = self._capture.read()
        self._next = number + 1
        if not there:
            raise DamagedInput(
                Reason.UNDECODABLE_IMAGE, f"{self._path} has no readable frame {number}"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
