"""Frames: camera images with their geometry, the type that all packages exchange."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import JpegImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Neighbouring view: the same camera at another time, or another camera at the same time.

    `T_neighbour_camera` (4, 4) float64 transforms points in metres from the frame's camera at the
    frame's time to the neighbour's camera at the neighbour's time, using the ego poses.
    """

    source_id: str
    timestamp_us: int
    image: JpegImage
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    T_neighbour_camera: np.ndarray  # (4, 4) float64, metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One camera image with its geometry. Cameras look along +z, x right, y down; metres."""

    frame_id: str  # stable across runs and variants: variant.frame_id == frame.frame_id
    source_dataset: str  # "nuscenes"
    source_id: str  # name of the image in its source, such as a nuScenes sample_data token
    split: str  # "train" | "val" | "test" | "none"
    scene_id: str
    description: str  # the source's description of the scene
    camera: str  # "CAM_FRONT"
    condition: Condition
    timestamp_us: int
    image: JpegImage
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    T_world_camera: np.ndarray  # (4, 4) float64, metres
    T_ego_camera: np.ndarray | None = (
        None  # (4, 4) float64; ego: x ahead, y left, z up, on the road
    )
    lidar_depth_m: np.ndarray | None = None  # (H, W) float32, metres, 0 = no return
    exact_depth_m: np.ndarray | None = None  # (H, W) float32, metres; rendered worlds
    previous: Neighbour | None = None
    next: Neighbour | None = None
    stereo: Neighbour | None = None  # other image of a rectified pair
    # Objects that this camera sees, counted by plain name: {"car": 3}; None if not annotated
    objects: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """Entry of a source's listing: identifies a frame before any image is opened."""

    frame_id: str
    source_id: str
    split: str  # "train" | "val" | "test" | "none" (the source's protocol does not name the scene)
    scene_id: str
    camera: str
    condition: Condition
    timestamp_us: int
    log_id: str = ""  # drive that the scene was cut from; "": the scene is a whole drive


def scaled_intrinsics(
    intrinsics: np.ndarray, size_from: tuple[int, int], size_to: tuple[int, int]
) -> np.ndarray:
    """Return the intrinsics (3, 3) of an image resized between sizes (width, height).

    A pixel's centre is at its integer coordinate, as in nuScenes and OpenCV, so the principal point
    moves by half a pixel before and after scaling.
    """
    sx, sy = size_to[0] / size_from[0], size_to[1] / size_from[1]
    scaled = np.array(intrinsics, np.float64)
    scaled[0] *= sx
    scaled[1] *= sy
    scaled[0, 2] += 0.5 * sx - 0.5
    scaled[1, 2] += 0.5 * sy - 0.5
    return scaled
