"""Projection: LiDAR points to sparse depth and back. Camera axes: x right, y down, z forward."""

import functools

import numpy as np

MIN_DEPTH_M = 1.0  # nearer returns hit the car itself; the same limit as nuscenes-devkit's
BORDER_PX = 1  # as in nuscenes-devkit: border pixels are never written


def rigid_transform(translation: object, quaternion: object) -> np.ndarray:
    """Transform (4, 4) float64 from a translation (3,) in metres and a quaternion (w, x, y, z).

    Raises ValueError for anything not finite, of the wrong length or not of unit norm (to 1 %: a
    larger deviation is damage, not rounding).
    """
    t = _finite_vector(translation, 3, "translation")
    q = _finite_vector(quaternion, 4, "quaternion")
    norm = float(np.linalg.norm(q))
    if abs(norm - 1.0) > 0.01:
        raise ValueError(f"the quaternion has norm {norm:.4g}; a rotation has 1")
    transform = np.eye(4)
    transform[:3, :3] = rotation_matrix(q / norm)
    transform[:3, 3] = t
    return transform


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a unit quaternion (w, x, y, z)."""
    w, v = quaternion[0], quaternion[1:]
    cross = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross  # Rodrigues


def invert_rigid(transform: np.ndarray) -> np.ndarray:
    """Inverse (4, 4) of a rigid transform (4, 4): the rotation transposed, exactly."""
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse


def camera_from_lidar(
    T_ego_lidar: np.ndarray,
    T_world_ego_at_lidar: np.ndarray,
    T_world_ego_at_camera: np.ndarray,
    T_ego_camera: np.ndarray,
) -> np.ndarray:
    """`T_camera_lidar` (4, 4): lidar -> ego at the scan -> world -> ego at the image -> camera.

    Going through the world frame compensates for the car's motion between scan and image.
    """
    T_camera_world = invert_rigid(T_world_ego_at_camera @ T_ego_camera)
    return T_camera_world @ T_world_ego_at_lidar @ T_ego_lidar


def transform_points(transform: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    """Apply a rigid transform (4, 4) to points (N, 3) in metres, as float64."""
    return points_m.astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]


def project_points(
    points_m: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Project camera points (N, 3) to sparse depth (H, W) float32 of `size` = (width, height).

    Both in metres; 0 = no return; the nearest point wins. Points nearer than 1 m or on the 1 px
    border are dropped. A pixel's centre is at its integer coordinate, so u and v are rounded.
    """
    depth_m = points_m[:, 2]
    ahead = points_m[depth_m >= MIN_DEPTH_M].astype(np.float64)  # (N', 3)
    uvw = ahead @ np.asarray(intrinsics, np.float64).T
    uv = np.rint(uvw[:, :2] / uvw[:, 2:])
    limit = np.array(size) - 1 - BORDER_PX
    inside = np.all((uv >= BORDER_PX) & (uv <= limit), axis=1)
    return _scatter_nearest(uv[inside].astype(np.int64), ahead[inside, 2], size)


def project_points_md4all(
    points_m: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Project camera points (N, 3) to sparse depth (H, W) as md4all's ground truth has it.

    Differs from `project_points`: u and v are truncated, which shifts the map by half a pixel, and
    of several points in a pixel the last one counts, whatever its depth. Kept are, as in
    nuscenes-devkit, points beyond 1 m whose u and v before truncation are more than 1 px inside.
    Source: md4all's code for nuScenes (docs/papers/md4all.md, eq. 14).
    """
    ahead = points_m[points_m[:, 2] > MIN_DEPTH_M].astype(np.float64)  # (N', 3)
    uvw = ahead @ np.asarray(intrinsics, np.float64).T
    uv = uvw[:, :2] / uvw[:, 2:]
    inside = np.all((uv > BORDER_PX) & (uv < np.array(size) - BORDER_PX), axis=1)
    place = uv[inside].astype(np.int64) @ (1, size[0])
    depth_m = np.zeros(size[0] * size[1], np.float32)
    last = len(place) - 1 - np.unique(place[::-1], return_index=True)[1]
    depth_m[place[last]] = ahead[inside, 2][last]
    return depth_m.reshape(size[1], size[0])


def unproject_depth(depth_m: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Unproject depth (H, W) in metres, where > 0 and finite, to camera points (N, 3) float64."""
    v, u = np.nonzero((depth_m > 0) & np.isfinite(depth_m))
    z = depth_m[v, u].astype(np.float64)
    rays = np.stack([u, v, np.ones_like(u)], axis=1) @ np.linalg.inv(intrinsics).T  # (N, 3)
    return rays * z[:, None]


def scatter_min_resize(sparse_depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize sparse depth (H, W), 0 = none, to `size` = (width, height); the nearest depth wins.

    Averaging would invent depths between a car and the wall behind it. Enlarging leaves gaps.
    Accepts metres as float32, or the uint16 levels of a depth PNG, and returns the same type.
    """
    kind = _ORDERED_BITS[sparse_depth.dtype]
    # Subtracting 1 wraps 0 (none) to the farthest value; positive floats sort like their bits.
    bits = sparse_depth.view(kind) - kind.type(1)
    height, width = bits.shape
    if width % size[0] == 0 and height % size[1] == 0:
        nearest = _nearest_of_blocks(bits, width // size[0], height // size[1])
    else:
        nearest = _nearest_by_place(bits, np.flatnonzero(sparse_depth.ravel() != 0), size)
    return (nearest + kind.type(1)).view(sparse_depth.dtype)


_ORDERED_BITS = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.uint16): np.dtype(np.uint16),
}


def _nearest_of_blocks(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """Return the minimum (h, w) of each block of (h * down, w * across)."""
    rows = functools.reduce(np.minimum, (values[i::down] for i in range(down)))  # (h, W)
    return functools.reduce(np.minimum, (rows[:, i::across] for i in range(across)))


def _nearest_by_place(values: np.ndarray, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the minimum (h, w) of the values (H, W) at `places` that fall on the same pixel."""
    height, width = values.shape
    v, u = np.divmod(places, width)
    # A pixel covers [u - 0.5, u + 0.5]; its centre falls into this pixel of the new map.
    u, v = (2 * u + 1) * size[0] // (2 * width), (2 * v + 1) * size[1] // (2 * height)
    nearest = np.full(size[0] * size[1], np.iinfo(values.dtype).max, values.dtype)
    np.minimum.at(nearest, v * size[0] + u, values.ravel()[places])
    return nearest.reshape(size[1], size[0])


def _scatter_nearest(uv: np.ndarray, depth_m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    nearest_m = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest_m, uv[:, 1] * width + uv[:, 0], depth_m.astype(np.float32))
    nearest_m[np.isinf(nearest_m)] = 0.0
    return nearest_m.reshape(height, width)


def _finite_vector(values: object, length: int, name: str) -> np.ndarray:
    if not isinstance(values, list | tuple | np.ndarray) or len(values) != length:
        raise ValueError(f"the {name} is {str(values)[:80]}; expected {length} numbers")
    if any(isinstance(value, str | bytes | bool | None) for value in values):
        raise ValueError(f"the {name} {str(values)[:80]} does not contain {length} numbers")
    try:
        vector = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the {name} {str(values)[:80]} does not consist of numbers") from error
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"the {name} {str(values)[:80]} is not finite")
    return vector
