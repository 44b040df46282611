"""Exact truth of keyframes, for evaluation only.

    truth/depth/CHANNEL/STEM.png     16-bit grey: z-depth in metres x 256; 0 = sky, or farther than
                                     255.99 m
    truth/semantic/CHANNEL/STEM.png  8-bit grey: Cityscapes' train ids (Cordts et al. 2016), 10 =
                                     sky, 255 = none of them
    truth/instance/CHANNEL/STEM.png  16-bit grey: 0 = no instance, else a value listed in
    truth/instance/SCENE.json        {"scene_token", "instances": [{"value", "instance_token",
                                     "category"}]}: joins a mask with sample_annotation; instances
                                     that the LiDAR never hits have no annotation
    truth/flow/CHANNEL/STEM.png      16-bit RGB in KITTI's format (Geiger et al. 2012): flow to the
                                     camera's next image, to the right and down, pixels x 64
                                     + 32768; blue: 0 = leaves the image, 1 = visible there, 2 =
                                     inside but hidden. KITTI's tools treat every non-zero blue as
                                     valid

STEM is the file stem of the image in samples/CHANNEL. Depth, class and instance are those of the
ray through the pixel's centre; the sky's flow is that of a point at infinity.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.io.images import MAX_FILE_BYTES, check_png, decode_depth_png
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.datasets.world.sensors.flow import Fate, Flow

FLOW_SCALE, FLOW_ZERO = 64.0, 32768.0
MAX_FLOW_PX = 511.98


@dataclass(frozen=True, slots=True)
class Instance:
    """Instance: the object behind one value of an instance mask."""

    value: int
    instance_token: str
    category: str


def image_file(
    scene: str, channel: str, timestamp_us: int, group: str = "samples", ending: str = "jpg"
) -> str:
    """File name of a sensor's image, from a frame's scene_id, camera and timestamp_us."""
    return f"{group}/{channel}/{scene}__{channel}__{timestamp_us}.{ending}"


def truth_file(kind: str, image_file: str) -> str:
    """File name of the truth of an image named samples/CHANNEL/STEM.jpg, as in sample_data."""
    path = PurePosixPath(image_file)
    return f"truth/{kind}/{path.parent.name}/{path.stem}.png"


def instances_file(scene: str) -> str:
    """File name of the list of instances of a scene."""
    return f"truth/instance/{scene}.json"


def encode_map(values: np.ndarray) -> bytes:
    """Encode classes (H, W) uint8 or instance values (H, W) uint16 as a PNG."""
    ok, data = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ValueError(f"OpenCV could not encode a map of {values.dtype} {values.shape}")
    return data.tobytes()


def encode_flow(flow: Flow) -> bytes:
    """Encode flow as a 16-bit PNG in steps of 1/64 pixel; beyond 511.98 pixels it is dropped."""
    near = (np.abs(flow.motion_px) <= MAX_FLOW_PX).all(0)
    valid = (flow.fate != Fate.LEFT) & near
    coded = np.rint(np.where(valid, flow.motion_px, -512.0) * FLOW_SCALE + FLOW_ZERO)
    u, v = coded.astype(np.uint16)
    return encode_map(np.stack([np.where(valid, flow.fate, 0).astype(np.uint16), v, u], -1))


def read_depth(root: Path, image_file: str) -> np.ndarray:
    """Read exact depth (H, W) float32 in metres, 0 = none; raises DamagedInput."""
    return decode_depth_png(_bytes(root, truth_file("depth", image_file)))


def read_semantic(root: Path, image_file: str) -> np.ndarray:
    """Read Cityscapes train ids (H, W) uint8; raises DamagedInput."""
    return _decode(root, truth_file("semantic", image_file), np.uint8, 1)


def read_instance(root: Path, image_file: str) -> np.ndarray:
    """Read instance values (H, W) uint16, 0 = no instance; raises DamagedInput."""
    return _decode(root, truth_file("instance", image_file), np.uint16, 1)


def read_flow(root: Path, image_file: str) -> Flow:
    """Read flow to the camera's next image, exact to 1/128 pixel; raises DamagedInput."""
    coded = _decode(root, truth_file("flow", image_file), np.uint16, 3)
    fate, v, u = np.moveaxis(coded, -1, 0)  # OpenCV has blue first
    motion = (np.stack([u, v]).astype(np.float64) - FLOW_ZERO) / FLOW_SCALE
    return Flow(np.where(fate > 0, motion, 0.0), fate.astype(np.uint8))


def encode_instances(scene_token: str, instances: Sequence[Instance]) -> bytes:
    """Encode the instances of a scene's masks as JSON."""
    fields = Instance.__dataclass_fields__
    listed = [{name: getattr(i, name) for name in fields} for i in instances]
    return json.dumps({"scene_token": scene_token, "instances": listed}, indent=0).encode()


def read_instances(root: Path, scene: str) -> dict[int, Instance]:
    """Read the instances of a scene by value; raises DamagedInput."""
    name = instances_file(scene)
    try:
        found = [Instance(**i) for i in parse_json(_bytes(root, name))["instances"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedInput(Reason.BAD_RECORD, f"{name} lists no instances: {error}") from error
    return {instance.value: instance for instance in found}


def _decode(root: Path, name: str, dtype: type, channels: int) -> np.ndarray:
    data = _bytes(root, name)
    check_png(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    shape = () if values is None else values.shape[2:]
    if values is None or values.dtype != dtype or shape != (() if channels == 1 else (channels,)):
        found = "nothing decodable" if values is None else f"{values.dtype} {values.shape}"
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE,
            f"{name}: expected {dtype.__name__} in {channels} channels, found {found}",
        )
    return values


def _bytes(root: Path, name: str) -> bytes:
    return read_bytes(root, name, MAX_FILE_BYTES)
