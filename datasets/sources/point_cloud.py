"""Point clouds in files of float32 values: a fixed number of values per point, x, y, z first."""

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import MAX_LIDAR_BYTES, Files


def read_points(files: Files, name: object, values_per_point: int) -> np.ndarray:
    """Read points (N, 3) float32 in metres, in the LiDAR frame; raises DamagedInput."""
    data = files.read(name, MAX_LIDAR_BYTES)
    if len(data) % (4 * values_per_point):
        raise DamagedInput(
            Reason.BAD_LIDAR,
            f"{name} has {len(data)} bytes, which is not a multiple of {4 * values_per_point}: the "
            "file is truncated. Copy it from the original",
        )
    points = np.frombuffer(data, "<f4").reshape(-1, values_per_point)  # (N, values)
    bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if bad:
        raise DamagedInput(
            Reason.BAD_LIDAR, f"{name}: {bad} of {len(points)} points are not finite numbers"
        )
    return points[:, :3]
