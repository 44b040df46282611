"""Predictions of other networks: depth maps in files, named after frames."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import DamagedInput, InvalidRequest, UnreadableFile
from nightrain.datasets.io.images import decode_depth_levels
from nightrain.datasets.io.regular import files_below, read_regular, sha256_of
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.depthmodel.evaluation.evaluate import FramePredictor, NoPrediction

ENDINGS = (".npy", ".png")
ASPECT_TOLERANCE = 0.02  # of the image's width over its height
LEAST = 1e-3  # of inverse depth, and of depth in metres
MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class PredictionForm:
    """How to read predicted values."""

    gives_inverse: bool = False  # inverse depth, of unknown scale: score it with affine scaling
    png_scale: float = 256.0  # levels of a 16-bit PNG per metre, or per unit of inverse depth


class PredictionFolder(FramePredictor):
    """Depth maps (h, w) in files below a folder: .npy of floats, or 16-bit grey .png.

    A file belongs to the frame whose frame_id or source_id its name is, without the ending; of a
    source_id that is a path, the path below the folder or the last part. Frames without a file are
    not scored. Raises InvalidRequest where no file belongs to a frame, and where two belong to one.
    """

    def __init__(self, folder: Path, dataset: Path, form: PredictionForm) -> None:
        if not folder.is_dir():
            raise InvalidRequest(
                f"There is no folder {folder}. Name the folder of the predictions."
            )
        files = [path for path in files_below(folder) if path.suffix.lower() in ENDINGS]
        self._form, self._file_of = form, _files_of_frames(folder, files, dataset)
        if not self._file_of:
            found = files[0].relative_to(folder) if files else "no .npy and no .png"
            raise InvalidRequest(
                f"no file below {folder} belongs to a frame of {dataset}: found {found}, expected "
                f"names such as {_example(dataset)}.npy: a frame_id or source_id."
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the files and the form."""
        digest = hashlib.sha256(repr(self._form).encode())
        for frame_id, path in sorted(self._file_of.items()):
            digest.update(f"{frame_id} {sha256_of(path)}\n".encode())
        return digest.hexdigest()

    def __call__(
        self, images: Sequence[np.ndarray], frame_ids: Sequence[str]
    ) -> list[np.ndarray | NoPrediction]:
        """Depth (h, w) float32 in metres of each frame, or why there is none."""
        return [self._of(image, name) for image, name in zip(images, frame_ids, strict=True)]

    def _of(self, image: np.ndarray, frame_id: str) -> np.ndarray | NoPrediction:
        path = self._file_of.get(frame_id)
        if path is None:
            return NoPrediction("no file of predictions")
        try:
            values = _read(path, self._form.png_scale)
        except (DamagedInput, UnreadableFile, ValueError) as error:
            return NoPrediction(f"{path.name} cannot be read: {error}")
        (height, width), size = values.shape, image.shape
        if abs(width / height / (size[1] / size[0]) - 1) > ASPECT_TOLERANCE:
            return NoPrediction(
                f"{path.name} is {width}x{height}, the image {size[1]}x{size[0]}: another aspect"
            )
        if not np.isfinite(values).all():
            return NoPrediction(f"{path.name} has values that are not finite")
        values = np.maximum(values, np.float32(LEAST))
        return 1 / values if self._form.gives_inverse else values


def _files_of_frames(folder: Path, files: Sequence[Path], dataset: Path) -> dict[str, Path]:
    """File of each frame_id; raises InvalidRequest where two files belong to one frame."""
    by_name: dict[str, list[Path]] = {}
    for path in files:
        below = path.relative_to(folder).with_suffix("")
        for name in {str(below), below.name}:
            by_name.setdefault(name, []).append(path)
    found: dict[str, Path] = {}
    manifest = Manifest(dataset)
    for entry in manifest.entries(FRAMES):
        for row in manifest.reader(entry.rows).table(["frame_id", "source_id"]).to_pylist():
            source = Path(row["source_id"] or row["frame_id"])
            names = (row["frame_id"], str(source), str(source.with_suffix("")), source.stem)
            mine = {path for name in dict.fromkeys(names[:3]) for path in by_name.get(name, ())}
            mine = mine or set(by_name.get(names[3], ()))
            if len(mine) > 1:
                first, second, *_ = sorted(mine)
                raise InvalidRequest(
                    f"{first} and {second} both belong to frame {row['frame_id']}; keep one."
                )
            if mine:
                (found[row["frame_id"]],) = mine
    return found


def _example(dataset: Path) -> str:
    manifest = Manifest(dataset)
    entries = [entry for entry in manifest.entries(FRAMES) if entry.rows.num_rows]
    return manifest.reader(entries[0].rows).row(0, ["frame_id"])["frame_id"] if entries else "?"


def _read(path: Path, png_scale: float) -> np.ndarray:
    """Values (h, w) float32 of a file; raises DamagedInput, UnreadableFile, ValueError."""
    if path.suffix.lower() == ".png":
        levels = decode_depth_levels(read_regular(path, MAX_BYTES))
        return levels.astype(np.float32) / np.float32(png_scale)
    with path.open("rb") as file:
        values = np.load(file, allow_pickle=False)
    values = np.squeeze(values)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
        raise ValueError(f"found {values.dtype} {values.shape}, expected numbers (h, w)")
    return values.astype(np.float32)
