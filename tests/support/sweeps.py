"""Synthetic sweeps with the statistics of real ones, and files of other layouts made from them.

A street without traffic: a flat road, facades to both sides, and the end of the street. Lasers,
order, reflectances and the share of ranges are those of the sensors (see lidar_sensors.py).
"""

from collections.abc import Iterator
from itertools import permutations

import numpy as np

HDL32E_DEG = np.linspace(-30.67, 10.67, 32)
HDL64E_DEG = np.linspace(2.0, -24.8, 64)  # the file begins with the uppermost laser


def nuscenes_sweep(seed: int = 0, *, turn: int = -1, height_m: float = 1.84) -> np.ndarray:
    """Points (N, 5) float32 of an HDL-32E: firing by firing, clockwise; x right, y ahead."""
    rng = np.random.default_rng(seed)
    azimuth = turn * np.linspace(0, 2 * np.pi, 400, endpoint=False) + np.pi
    elevation, angle = (
        a.T.ravel() for a in np.meshgrid(np.radians(HDL32E_DEG), azimuth, indexing="ij")
    )
    ring = np.tile(np.arange(32), 400)
    points, hit = _street(elevation, angle, height_m, rng)
    own = rng.random(len(ring)) < 0.15  # the car's own roof
    points[own] *= 0.3 / np.maximum(np.linalg.norm(points[own], axis=1, keepdims=True), 0.3)
    intensity = rng.integers(0, 120, len(ring))
    return np.column_stack([points, intensity, ring])[hit].astype("<f4")


def kitti_sweep(seed: int = 0, height_m: float = 1.73) -> np.ndarray:
    """Points (N, 4) float32 of an HDL-64E: laser by laser, counter-clockwise; x ahead, y left."""
    rng = np.random.default_rng(seed)
    azimuth = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    elevation, angle = (
        a.ravel() for a in np.meshgrid(np.radians(HDL64E_DEG), azimuth, indexing="ij")
    )
    points, hit = _street(elevation, angle, height_m, rng)
    reflectance = rng.integers(0, 100, len(angle)) / 100
    return np.column_stack([points, reflectance])[hit].astype("<f4")


def lms_scan(seed: int = 0, height_m: float = 1.04) -> np.ndarray:
    """Scan (541, 3) float64 of an LMS-151 that looks down on a road; zeros without a return."""
    rng = np.random.default_rng(seed)
    angle = np.radians(np.linspace(-135, 135, 541))
    with np.errstate(divide="ignore"):
        down = np.where(np.cos(angle) > 0, height_m / np.cos(angle), np.inf)
        aside = np.abs(6.0 / np.sin(angle))  # facades
    range_m = np.minimum(down, aside) + rng.normal(0, 0.01, len(angle))
    range_m[(range_m > 50) | (np.abs(angle) > 2.2)] = 0
    xy = range_m[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.column_stack([xy, rng.integers(50, 600, len(angle))])


def other_layouts(points: np.ndarray, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Files with the content of a sweep (N, 4 or 5) in layouts that are not its sensor's."""
    rng = np.random.default_rng(seed)
    xyz, rest, num = points[:, :3], points[:, 3:], points.shape[1]
    for columns in {3, 4, 5, 6} - {num}:
        extra = np.zeros((len(points), max(columns - num, 0)), "<f4")
        yield f"{columns} columns", np.hstack([points, extra])[:, :columns].tobytes()
    for kind in ("<f8", "<f2", ">f4", ">f8"):
        yield kind, points.astype(kind).tobytes()
    for kind in ("<i4", "<i2"):
        yield f"{kind} mm", np.hstack([xyz * 1000, rest]).clip(-32768, 32767).astype(kind).tobytes()
    for scale in (1000, 100, 10, 3.2808, 0.3048, 0.1, 0.01, 0.001):
        yield f"x{scale}", np.hstack([xyz * scale, rest]).astype("<f4").tobytes()
    for order in list(permutations(range(3)))[1:]:
        yield f"order {order}", points[:, [*order, *range(3, num)]].tobytes()
    yield "reflectance first", points[:, [3, 0, 1, 2, *range(4, num)]].tobytes()
    for axis in range(3):
        mirrored = points.copy()
        mirrored[:, axis] *= -1
        yield f"mirrored axis {axis}", mirrored.tobytes()
    data = points.tobytes()
    for lost in (1, 4, 8, 12):
        yield f"{lost} bytes lost at the start", data[lost:]
    middle = int(rng.integers(100, len(data) - 100))
    yield "bytes lost in the middle", data[:middle] + data[middle + int(rng.integers(1, 16)) :]
    for value in (3e38, 300.0, np.nan, np.inf):
        one = points.copy()
        one[rng.integers(len(one)), rng.integers(3)] = value
        yield f"one {value}", one.tobytes()
    yield "random bytes", rng.bytes(len(data) // 4)
    yield "300 random bytes", rng.bytes(300)
    yield "half random", data[: len(data) // 2] + rng.bytes(len(data) // 2)
    yield "zeros", bytes(len(data))
    yield "text", b"0.1 0.2 0.3 4\n" * len(points)
    yield "column by column", np.ascontiguousarray(points.T).tobytes()
    range_m, flat_m = np.linalg.norm(xyz, axis=1), np.hypot(xyz[:, 0], xyz[:, 1])
    angles = np.arctan2(xyz[:, 1], xyz[:, 0]), np.arctan2(xyz[:, 2], flat_m)
    yield "spherical", np.column_stack([range_m, *angles, rest]).astype("<f4").tobytes()


def _street(
    elevation: np.ndarray, azimuth: np.ndarray, height_m: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in metres that rays from a height hit, and whether (N,) each hits anything."""
    level, up = np.cos(elevation), np.sin(elevation)
    rays = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), up], axis=1)  # (N, 3)
    with np.errstate(divide="ignore"):
        road = np.where(up < 0, height_m / -up, np.inf)
        facades = np.abs(np.array([9.0, 35.0]) / rays[:, :2]).min(axis=1)
    range_m = np.minimum(road, facades) + rng.normal(0, 0.01, len(up))
    hit = (range_m < 75) & (rng.random(len(up)) < 0.97)
    return rays * range_m[:, None], hit
