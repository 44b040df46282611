"""Sample decoding: from the rows of one sample to arrays at the sizes of the training set."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.geometry.crops import Crop
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.datasets.io.images import (
    check_png,
    decode_depth_levels,
    decode_jpeg,
    depth_from_levels,
    resize_image,
)
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.shards.parquet import Row

Size = tuple[int, int]  # (width, height)
Arrays = dict[str, np.ndarray]

SIDES = ("previous", "next")
FRAME_COLUMNS = ("frame_id", "image", "intrinsics", "width", "height")
VARIANT_COLUMNS = ("sample_id", "frame_id", "image")
TWIN_COLUMNS = ("frame_id", "image")
NEIGHBOUR_COLUMNS = tuple(
    name for s in SIDES for name in (f"{s}_image", f"{s}_intrinsics", f"T_{s}_camera")
)
STEREO_COLUMNS = ("stereo_image", "stereo_intrinsics", "T_stereo_camera")


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Rows of one sample as read, not yet decoded."""

    frame: Row
    variant: Row | None  # None: the sample shows the frame itself
    label: Row | None


def decode_sample(rows: SampleRows, config: TrainingSetConfig) -> Arrays:
    """Decode to images (H, W, 3) uint8, depths (h, w) float32 in metres, geometry float64.

    TrainingSet lists the fields. Raises DamagedInput; InvalidRequest if a configured depth is
    absent.
    """
    size = config.loss_size
    clear = decode_jpeg(rows.frame["image"]["bytes"])
    arrays = {
        "clear_image": resize_image(clear, config.input_size),
        "target": resize_image(clear, size),
    }
    arrays["image"] = arrays["clear_image"]
    if rows.variant is not None:
        variant = decode_jpeg(rows.variant["image"]["bytes"])
        arrays["image"] = resize_image(variant, config.input_size)
    native = (rows.frame["width"], rows.frame["height"])
    arrays["intrinsics"] = scaled_intrinsics(_matrix(rows.frame["intrinsics"], 3), native, size)
    if config.neighbours:
        for side in SIDES:
            arrays |= _neighbour(rows.frame, side, arrays["intrinsics"], size)
    if config.stereo:
        intrinsics = _matrix(rows.frame["intrinsics"], 3)
        shown = scaled_intrinsics(intrinsics, native, config.input_size)
        arrays |= _neighbour(rows.frame, "stereo", shown, config.input_size)
        arrays["shown_intrinsics"] = shown
    arrays |= _measured(rows.frame, config)
    if config.variant_confidence:
        arrays["variant_confidence"] = _confidence(rows.variant or {"confidence": None}, size)
    if rows.label is not None:
        arrays["label_depth_m"] = _dense(rows.label, "depth", size)
        arrays["label_confidence"] = _confidence(rows.label, size)
    return arrays


def decode_crop(rows: SampleRows, config: TrainingSetConfig, numbers: np.ndarray) -> Arrays:
    """Decode as `decode_sample`, but crop instead of resizing.

    The window of `input_size` has a random place, by two uniform numbers, in the bottom centre of
    size `crop_from`: PixelFormer's random crop of the KITTI benchmark crop (Agarwal and Arora, WACV
    2023). Raises InvalidRequest for a frame smaller than that, and as `decode_sample`.
    """
    assert config.crop_from is not None
    native, (outer_w, outer_h) = (rows.frame["width"], rows.frame["height"]), config.crop_from
    if native[0] < outer_w or native[1] < outer_h:
        raise InvalidRequest(
            f"Frame {rows.frame['frame_id']} is {native[0]}x{native[1]}, smaller than crop_from "
            f"{outer_w}x{outer_h}. Choose a smaller crop, or null to resize frames."
        )
    width, height = config.input_size
    left = (native[0] - outer_w) // 2 + int(numbers[0] * (outer_w - width + 1))
    top = native[1] - outer_h + int(numbers[1] * (outer_h - height + 1))
    whole = config.model_copy(update={"input_size": native, "loss_size": native})
    crop = Crop(top, left, height, width)
    return {name: _cropped(name, v, crop) for name, v in decode_sample(rows, whole).items()}


def _cropped(name: str, values: np.ndarray, crop: Crop) -> np.ndarray:
    if name.startswith(("T_", "has_")):
        return values
    return crop.intrinsics(values) if name.endswith("intrinsics") else crop.apply(values)


def most_bytes(config: TrainingSetConfig) -> int:
    """Upper bound of a packed sample's bytes: uint8 images, float32 maps, and some slack."""
    input_px, loss_px = (w * h for w, h in (config.input_size, config.loss_size))
    num_pictures = 1 + (len(SIDES) if config.neighbours else 0)  # at loss_size
    num_inputs = 2 + config.stereo  # at input_size
    num_maps = config.lidar_depth + config.exact_depth + config.variant_confidence
    num_maps += 2 if config.labels else 0
    return 3 * (num_inputs * input_px + num_pictures * loss_px) + 4 * num_maps * loss_px + 4096


def _neighbour(row: Row, side: str, intrinsics: np.ndarray, size: Size) -> Arrays:
    """Image, intrinsics and transform of the neighbour "previous", "next" or "stereo".

    An absent neighbour is black, with the frame's intrinsics and the identity transform, so that
    geometry does not divide by zero before `has_previous`, `has_next` or `has_stereo` masks it.
    """
    if row[f"{side}_image"] is None:
        image, own, transform = np.zeros((size[1], size[0], 3), np.uint8), intrinsics, np.eye(4)
    else:
        image = decode_jpeg(row[f"{side}_image"]["bytes"])
        native = (image.shape[1], image.shape[0])
        own = scaled_intrinsics(_matrix(row[f"{side}_intrinsics"], 3), native, size)
        transform = _matrix(row[f"T_{side}_camera"], 4)
    return {
        side: resize_image(image, size),
        f"{side}_intrinsics": own,
        f"T_{side}_camera": transform,
        f"has_{side}": np.array(row[f"{side}_image"] is not None),
    }


def _measured(row: Row, config: TrainingSetConfig) -> Arrays:
    """LiDAR and exact depth as configured, thinned to `sparse_share` if that is set."""
    arrays = {}
    if config.lidar_depth:
        arrays["lidar_depth_m"] = _lidar(row, config.loss_size)
    if config.exact_depth:
        arrays["exact_depth_m"] = _dense(row, "exact_depth", config.loss_size)
    if config.sparse_share is None or not arrays:
        return arrays
    kept = _kept_pixels(row["frame_id"], config.loss_size, config.sparse_share)
    return {name: np.where(kept, depth_m, np.float32(0.0)) for name, depth_m in arrays.items()}


def _kept_pixels(frame_id: str, size: Size, share: float) -> np.ndarray:
    """Random mask (h, w) of about this share; a smaller share keeps a subset of the pixels."""
    seed = hashlib.blake2b(frame_id.encode(), digest_size=8).digest()
    numbers = np.random.default_rng(int.from_bytes(seed, "little"))
    return numbers.random((size[1], size[0]), np.float32) < share


def _lidar(row: Row, size: Size) -> np.ndarray:
    """Sparse depth (h, w) in metres, 0 = none; all 0 if the frame has no LiDAR."""
    if row["lidar_depth"] is None:
        return np.zeros((size[1], size[0]), np.float32)
    levels = decode_depth_levels(row["lidar_depth"]["bytes"])
    same = levels.shape == (size[1], size[0])
    return depth_from_levels(levels if same else scatter_min_resize(levels, size))


def _dense(row: Row, column: str, size: Size) -> np.ndarray:
    """Dense depth (h, w) in metres, 0 = none; averaging would invent depths at edges."""
    if row[column] is None:
        raise InvalidRequest(
            f"Frame {row['frame_id']} has no {column}, which the training set needs. Only rendered "
            "worlds have exact depth; train on labels or LiDAR instead."
        )
    levels = decode_depth_levels(row[column]["bytes"])
    return depth_from_levels(_resize_nearest(levels, size))


def _confidence(row: Row, size: Size) -> np.ndarray:
    """Confidence (h, w) float32 in [0, 1] of an 8-bit PNG; ones if the row has none."""
    if row["confidence"] is None:
        return np.ones((size[1], size[0]), np.float32)
    data = row["confidence"]["bytes"]
    check_png(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint8 or values.ndim != 2:
        found = "nothing decodable" if values is None else f"{values.dtype} {values.shape}"
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE,
            f"the confidence of frame {row['frame_id']} is {found}; expected an 8-bit grey PNG",
        )
    return _resize_nearest(values, size).astype(np.float32) * np.float32(1 / 255)


def _resize_nearest(values: np.ndarray, size: Size) -> np.ndarray:
    """Resize (H, W) to `size` = (width, height) by nearest pixel centre."""
    if (values.shape[1], values.shape[0]) == size:
        return values
    return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)


def _matrix(values: list[float], rows: int) -> np.ndarray:
    """A row-major matrix column as (rows, rows) float64."""
    return np.array(values, np.float64).reshape(rows, rows)
