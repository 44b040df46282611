"""Point clouds in files: float32 values without a header, checked against the declared sensor."""

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import MAX_LIDAR_BYTES, Files
from nightrain.datasets.sources.lidar_sensors import (
    KITTI_LIDAR,
    MIN_POINTS,
    NUSCENES_LIDAR,
    SAMPLED_POINTS,
    SWEEP,
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
CLEARLY_BETTER = 1.05  # six columns of three values each are three
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


def likely_layout(data: bytes, declared: LidarSensor) -> str:
    """Layout other than the declared one that the content of a file fits; "" if none does."""
    for sensor in (NUSCENES_LIDAR, KITTI_LIDAR):
        other = sensor.columns != declared.columns
        if other and not sensor.problem(_values(data, "<f4", sensor.values_per_point)):
            return f"a file of {sensor.name}"
    best, found = 0.0, ""
    for kind, words in TYPES.items():
        for num_values in (3, 4, 5, 6):
            values = _values(data, kind, num_values, SAMPLED_POINTS)
            unit = _unit_of(values[:, :3])
            if unit and (score := _distinctness(values)) > best * CLEARLY_BETTER:
                best = score
                same = (kind, num_values, unit) == ("<f4", declared.values_per_point, "metres")
                found = "" if same else f"{num_values} values of {words} per point, in {unit}"
    return found


def _unit_of(points: np.ndarray) -> str:
    """Unit in which points (N, 3) are a sweep; "" if there is none."""
    for unit, metres in UNITS_M.items():
        if len(points) >= MIN_POINTS and not SWEEP.problem((points * metres).astype(np.float32)):
            return unit
    return ""


def _distinctness(values: np.ndarray) -> float:
    """How much the columns of values (N, C) differ; a wrong number of columns mixes them."""
    sizes = np.log1p(np.minimum(np.abs(values), 1e6))
    return float(sizes.mean(axis=0).var() / (sizes.var() + 1e-9))


def _values(data: bytes, kind: str, num_values: int, about: int = 1 << 30) -> np.ndarray:
    """Values (N, num_values) float32 of this type: of all whole points, or of `about` of them."""
    num_points = len(data) // (num_values * np.dtype(kind).itemsize)
    values = np.frombuffer(data, kind, count=num_points * num_values).reshape(-1, num_values)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nan_to_num(values[:: num_points // about + 1].astype(np.float32), nan=np.inf)


def _refused(name: object, data: bytes, sensor: LidarSensor, problem: str) -> DamagedInput:
    likely = likely_layout(data, sensor)
    found = f"its content fits {likely}" if likely else "it may be truncated or damaged"
    return DamagedInput(
        Reason.BAD_LIDAR,
        f"{name} {problem}; {found}. Expected {sensor.layout}. Copy it from the original, or "
        "convert it",
    )
