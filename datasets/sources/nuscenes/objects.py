"""Objects in view: annotated boxes, projected into a camera's image and counted by plain name."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from nightrain.datasets.geometry.projection import transform_points

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

HIDDEN = "v0-40"  # level of objects of which the cameras together see less than 40 %
LEAST_IMAGE_SHARE = 1 / 2000  # 27 x 27 of 1600 x 900 pixels; smaller objects are not counted
NEAR_M = 0.1
PLAIN_NAMES = {  # categories that need other words; all others are shortened
    "human.pedestrian.construction_worker": "construction worker",
    "human.pedestrian.police_officer": "police officer",
    "human.pedestrian.stroller": "stroller",
    "human.pedestrian.wheelchair": "wheelchair",
    "movable_object.pushable_pullable": "cart",
    "movable_object.trafficcone": "traffic cone",
    "vehicle.construction": "construction vehicle",
    "vehicle.emergency.ambulance": "ambulance",
    "vehicle.emergency.police": "police car",
}


def objects_in_view(
    devkit: "NuScenes",
    sample_data_token: str,
    T_camera_world: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
) -> dict[str, int] | None:
    """Count the annotated objects in a camera's image of (width, height) by name, most first.

    `T_camera_world` (4, 4) is that of the image's own time; between keyframes, the devkit
    interpolates the boxes. Objects that are mostly hidden or too small are left out. None if a
    record of the boxes is damaged.
    """
    levels = {record["token"]: record.get("level") for record in devkit.visibility}
    categories = []
    try:
        for box in devkit.get_boxes(sample_data_token):
            annotation: dict[str, Any] = devkit.get("sample_annotation", box.token)
            if levels.get(annotation.get("visibility_token")) == HIDDEN:
                continue
            with np.errstate(all="ignore"):
                world_m = box.corners().T
            if not np.isfinite(world_m).all():
                return None
            corners_m = transform_points(T_camera_world, world_m)
            if image_share(corners_m, intrinsics, size) >= LEAST_IMAGE_SHARE:
                categories.append(annotation["category_name"])
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        return None
    return count_names(categories)


def image_share(corners_m: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> float:
    """Share of an image that a box covers, 0 to 1, from its corners (8, 3) in camera coordinates.

    The part of the box behind the camera is cut off, so that a box next to the camera counts.
    """
    front_m = _in_front(corners_m)
    if len(front_m) < 3:
        return 0.0
    homogeneous = front_m @ intrinsics.T
    hull = cv2.convexHull((homogeneous[:, :2] / homogeneous[:, 2:]).astype(np.float32))
    right, bottom = size[0] - 0.5, size[1] - 0.5  # pixel centres are at whole numbers
    frame = np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]], np.float32)
    area_px, _ = cv2.intersectConvexConvex(hull, frame)
    return area_px / (size[0] * size[1])


def count_names(categories: Iterable[str]) -> dict[str, int]:
    """Count categories by plain name, the most frequent first, then by the alphabet."""
    counts = Counter(map(plain_name, categories))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def plain_name(category: str) -> str:
    """Plain name of a nuScenes category: "bus" of "vehicle.bus.bendy"; plain words stay."""
    if category in PLAIN_NAMES:
        return PLAIN_NAMES[category]
    parts = category.split(".")
    return parts[min(1, len(parts) - 1)].replace("_", " ")


def _in_front(corners_m: np.ndarray) -> np.ndarray:
    """Points (N, 3) whose hull is the part of a box at least NEAR_M in front of the camera."""
    found = [corner for corner in corners_m if corner[2] >= NEAR_M]
    for a, b in combinations(corners_m, 2):
        if (a[2] < NEAR_M) != (b[2] < NEAR_M):
            found.append(a + (NEAR_M - a[2]) / (b[2] - a[2]) * (b - a))
    return np.array(found)
