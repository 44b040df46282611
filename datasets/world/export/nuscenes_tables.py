"""The thirteen tables of the nuScenes layout, filled record by record."""

import hashlib
import itertools
from typing import Any

import numpy as np

Record = dict[str, Any]

TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
CATEGORIES = {  # nuScenes' names for the world's objects
    "human.pedestrian.adult": "Adult pedestrian.",
    "human.pedestrian.child": "Child pedestrian.",
    "movable_object.barrier": "Barrier put up for a while.",
    "movable_object.trafficcone": "Traffic cone.",
    "static_object.bicycle_rack": "Rack for bicycles.",
    "vehicle.bicycle": "Bicycle, with its rider if it has one.",
    "vehicle.bus.rigid": "Bus of one body.",
    "vehicle.car": "A car or van.",
    "vehicle.motorcycle": "Motorcycle or scooter, with its rider if it has one.",
    "vehicle.truck": "A truck with a cargo box.",
}
ATTRIBUTES = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle is stationary and has moved or will move.",
    "vehicle.parked": "Vehicle is stationary for longer than the scene.",
    "cycle.with_rider": "There is a rider on the bicycle or motorcycle.",
    "cycle.without_rider": "There is no rider on the bicycle or motorcycle.",
    "pedestrian.sitting_lying_down": "The pedestrian is sitting or lying down.",
    "pedestrian.standing": "The pedestrian is standing.",
    "pedestrian.moving": "The pedestrian is moving.",
}
VISIBILITIES = {  # nuScenes names them by number
    "1": ("v0-40", 0.0, 0.4),
    "2": ("v40-60", 0.4, 0.6),
    "3": ("v60-80", 0.6, 0.8),
    "4": ("v80-100", 0.8, 1.01),
}


def token(*parts: object) -> str:
    """Token of 32 hex digits that depends only on what the record describes."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def quaternion(R: np.ndarray) -> list[float]:
    """Unit quaternion (w, x, y, z) of a rotation (3, 3), by the eigenvector of Bar-Itzhack 2000."""
    K = np.array(
        [
            [R[0, 0] + R[1, 1] + R[2, 2], 0, 0, 0],
            [R[2, 1] - R[1, 2], R[0, 0] - R[1, 1] - R[2, 2], 0, 0],
            [R[0, 2] - R[2, 0], R[1, 0] + R[0, 1], R[1, 1] - R[0, 0] - R[2, 2], 0],
            [R[1, 0] - R[0, 1], R[2, 0] + R[0, 2], R[2, 1] + R[1, 2], R[2, 2] - R[0, 0] - R[1, 1]],
        ]
    )
    q = np.linalg.eigh(K)[1][:, -1]  # eigh reads the lower triangle; the largest eigenvalue is last
    q = q if q[np.argmax(np.abs(q) > 1e-9)] > 0 else -q
    return [float(v) for v in q]


def pose_record(T: np.ndarray) -> Record:
    """`rotation` and `translation` of a pose (4, 4), metres."""
    return {"rotation": quaternion(T[:3, :3]), "translation": [float(v) for v in T[:3, 3]]}


def link(records: list[Record]) -> list[Record]:
    """Link records in order through `prev` and `next`; the ends are empty strings."""
    for before, after in itertools.pairwise(records):
        before["next"], after["prev"] = after["token"], before["token"]
    for record in records:
        record.setdefault("prev", "")
        record.setdefault("next", "")
    return records


def visibility_token(share: float) -> str:
    """nuScenes' visibility level of a visible share in [0, 1]."""
    return next(name for name, (_, low, high) in VISIBILITIES.items() if low <= share < high)


def new_tables(cameras: tuple[str, ...]) -> dict[str, list[Record]]:
    """Create all tables; those that do not depend on the scenes are filled."""
    tables: dict[str, list[Record]] = {name: [] for name in TABLES}
    for name, words in CATEGORIES.items():
        tables["category"].append(
            {"token": token("category", name), "name": name, "description": words}
        )
    for name, words in ATTRIBUTES.items():
        tables["attribute"].append(
            {"token": token("attribute", name), "name": name, "description": words}
        )
    for name, (level, low, high) in VISIBILITIES.items():
        words = f"visibility to the LiDAR is between {low:.0%} and {min(high, 1):.0%}"
        tables["visibility"].append({"token": name, "level": level, "description": words})
    for channel, modality in (("LIDAR_TOP", "lidar"), *((c, "camera") for c in cameras)):
        tables["sensor"].append(
            {"token": token("sensor", channel), "channel": channel, "modality": modality}
        )
    return tables
