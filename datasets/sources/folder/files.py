"""Readers of single files of a described folder: pictures, depth maps and calibrations."""

import io
import json
import re

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.io.images import (
    MAX_DEPTH_M,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    PNG_SIGNATURE,
    JpegImage,
    decode_depth_levels,
    decode_jpeg,
    decode_png,
    encode_jpeg,
)
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.folder.description import DepthMaps

JPEG_QUALITY = 97
MAX_NPY_BYTES = 8 * MAX_PIXELS + (1 << 16)
MAX_CALIBRATION_BYTES = 1 << 16


def read_picture(files: Files, name: str) -> tuple[JpegImage, tuple[int, int]]:
    """Read a picture and its (width, height); a JPEG keeps its bytes. Raises DamagedInput."""
    data = files.read(name, MAX_FILE_BYTES)
    try:
        if data[:8] != PNG_SIGNATURE:
            height, width = decode_jpeg(data).shape[:2]
            return JpegImage(data), (width, height)
        pixels = decode_png(data)
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"picture {name}: {error}") from error
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return JpegImage(encode_jpeg(pixels, JPEG_QUALITY)), (pixels.shape[1], pixels.shape[0])


def read_depth(files: Files, name: str, maps: DepthMaps, size: tuple[int, int]) -> np.ndarray:
    """Read a depth map (H, W) float32 in metres, 0 = none, of `size` = (width, height).

    Values that are not finite count as none. Raises DamagedInput, also for negative values and for
    a map without a single depth that can be stored, as of a wrong scale.
    """
    try:
        values = _npy(files, name) if maps.format == "npy" else _levels(files, name)
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"depth map {name}: {error}") from error
    if values.shape != size[::-1]:
        height, width = values.shape
        raise DamagedInput(
            Reason.SIZE_MISMATCH,
            f"depth map {name} has {width}x{height} pixels; its picture has {size[0]}x{size[1]}. "
            "Resize the map without mixing depths (nearest neighbour), or the picture",
        )
    depth_m = np.nan_to_num(values / maps.values_per_metre, nan=0.0, posinf=0.0, neginf=0.0)
    _check_metres(depth_m, name, maps)
    return depth_m.astype(np.float32)


def _check_metres(depth_m: np.ndarray, name: str, maps: DepthMaps) -> None:
    known = depth_m[depth_m != 0]
    if not known.size:
        return  # such as a LiDAR sweep without a return
    lowest, middle, highest = float(known.min()), float(np.median(known)), float(known.max())
    if lowest < 0 or middle > MAX_DEPTH_M or highest < 0.1:
        raise DamagedInput(
            Reason.BAD_RECORD,
            f"depth map {name} says {lowest:.4g} to {highest:.4g} m, mostly {middle:.4g} m; "
            f"expected 0 to {MAX_DEPTH_M:.0f} m along z, 0 for none. Set `scale`, the value per "
            f"metre, which is {maps.values_per_metre:g}: 1000 for millimetres",
        )


def _npy(files: Files, name: str) -> np.ndarray:
    """Array (H, W) of numbers, float64; raises DamagedInput."""
    data = files.read(name, MAX_NPY_BYTES)
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy's parser of the header raises many kinds
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE, f"{len(data)} bytes are not one complete .npy array: {error}"
        ) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
        found = getattr(values, "shape", "an archive")
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE, f"found {found}; expected an array (H, W) of numbers"
        )
    return values.astype(np.float64)


def _levels(files: Files, name: str) -> np.ndarray:
    return decode_depth_levels(files.read(name, MAX_FILE_BYTES)).astype(np.float64)


def read_matrix(files: Files, name: str) -> np.ndarray:
    """Read intrinsics (3, 3) float64 from a .txt or .json file; raises DamagedInput."""
    text = files.read_text(name, MAX_CALIBRATION_BYTES)
    try:
        numbers = _json_numbers(text) if name.endswith(".json") else _text_numbers(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad(name, f"holds {json.dumps(text[:80])}") from error
    if numbers.size == 4:
        fx, fy, cx, cy = numbers
        numbers = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0])
    if numbers.size != 9:
        raise _bad(name, f"has {numbers.size} numbers")
    return numbers.reshape(3, 3)


def _text_numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in re.split(r"[\s,;]+", text.strip())], np.float64)


def _json_numbers(text: str) -> np.ndarray:
    found = parse_json(text)
    values = found.get("intrinsics", found.get("K")) if isinstance(found, dict) else found
    return np.array(values, np.float64).ravel()


def _bad(name: str, found: str) -> DamagedInput:
    return DamagedInput(
        Reason.BAD_CALIBRATION,
        f"{name} {found}; expected fx fy cx cy or the 9 numbers of a camera matrix, in pixels",
    )
