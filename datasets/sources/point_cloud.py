"""Point clouds in files: float32 values without a header, checked against the declared sensor."""

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import MAX_LIDAR_BYTES, Files
from nightrain.datasets.sources.lidar_sensors import (
    KITTI_LIDAR,
    NUSCENES_LIDAR,
    SWEEP,
    WORLD_LIDAR,
    LidarSensor,
)

# Layouts that are tried on a refused file, by numpy's name of the type.
TYPES = {
    "<f4": "little-endian float32",
    "<f8": "float64",
    ">f4": "big-endian float32",
    "<f2": "float16",
    ">f8": "big-endian float64",
    "<i4": "int32",
    "<i2": "int16",
}
EMPTY_SWEEP = "; empty LiDAR sweep: no depth"  # in the description of a frame
UNITS_M = {"metres": 1.0, "millimetres": 1e-3, "centimetres": 1e-2}


def read_points(files: Files, name: object, sensor: LidarSensor) -> np.ndarray:
    """Read points (N, 3) float32 in metres, in the LiDAR frame; none of an empty file.

    A sensor without a return, in thick fog or at a fault, leaves an empty file. Raises
    DamagedInput, with BAD_LIDAR for content that this sensor cannot have measured.
    """
    data = files.read_or_empty(name, MAX_LIDAR_BYTES)
    num_bytes = 4 * sensor.values_per_point
    if len(data) % num_bytes:
        raise _refused(
            name, data, sensor, f"has {len(data)} bytes, which is not a multiple of {num_bytes}"
        )
    points = np.frombuffer(data, "<f4").reshape(-1, sensor.values_per_point)
    if problem := sensor.problem(points):
        raise _refused(name, data, sensor, f"is not plausible: {problem}")
    return points[:, :3]


def likely_layout(data: bytes) -> str:
    """Layout that the content of a file fits, in words; "" if none does."""
    for sensor in (NUSCENES_LIDAR, WORLD_LIDAR, KITTI_LIDAR):
        points = _values(data, "<f4", sensor.values_per_point)
        if points is not None and not sensor.problem(points):
            return f"a file of {sensor.name}"
    for kind, words in TYPES.items():
        for num_values in (3, 4, 5, 6):
            points = _values(data, kind, num_values)
            if points is None:
                continue
            for unit, metres in UNITS_M.items():
                if not SWEEP.problem((points[:, :3] * metres).astype(np.float32)):
                    return f"{num_values} values of {words} per point, in {unit}"
    return ""


def _values(data: bytes, kind: str, num_values: int) -> np.ndarray | None:
    """Values (N, num_values) of this type; None if the length does not divide."""
    num_bytes = num_values * np.dtype(kind).itemsize
    if len(data) % num_bytes:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.frombuffer(data, kind).reshape(-1, num_values).astype(np.float64)
        return np.where(abs(values) < 1e30, values, np.nan).astype(np.float32)


def _refused(name: object, data: bytes, sensor: LidarSensor, problem: str) -> DamagedInput:
    likely = likely_layout(data)
    found = f"its content fits {likely}" if likely else "it may be truncated or damaged"
    return DamagedInput(
        Reason.BAD_LIDAR,
        f"{name} {problem}; {found}. Expected {sensor.layout}. Copy it from the original, or "
        "convert it",
    )
