"""Where rays meet solids: exact, analytic intersections, only where a solid can be seen.

Rays are o + t d with d scaled by the caller: with d_z = 1 in a camera, t is the z-depth.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from datasets.world.noise import value_noise
from datasets.world.solids import GROUND_ROW, Shape, Solids

NO_HIT = -1
LEAF_SIZE_M = 0.19
LEAF_GAPS = 0.45  # share of the noise range that is a gap: crowns are torn, not balloons

Index = tuple[slice, ...] | np.ndarray


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest hit of each ray: t (...), inf for none, and the row of the solid, -1 for none."""

    t: np.ndarray
    row: np.ndarray


class Caster:
    """Solids prepared for intersection with rays in world coordinates, metres."""

    def __init__(self, solids: Solids) -> None:
        self.solids = solids
        normals, offsets = solids.local_planes()
        self._normals = normals @ solids.R_world_local.transpose(0, 2, 1)  # (S, 6, 3) world
        self._offsets = offsets + np.einsum("sij,sj->si", self._normals, solids.centre_m)
        self._unit = solids.R_world_local.transpose(0, 2, 1) / solids.half_m[:, :, None]

    def cast(
        self, origin_m: np.ndarray, directions: np.ndarray, windows: Iterable[tuple[int, Index]]
    ) -> Hits:
        """Nearest hits of rays (3, ...) from one origin (3,); a window says where a row may be."""
        t = self._ground(origin_m, directions)
        row = np.where(np.isfinite(t), GROUND_ROW, NO_HIT).astype(np.int32)
        for solid, index in windows:
            at = index if isinstance(index, tuple) else (index,)
            rays = directions[(slice(None), *at)]
            t_solid = self.intersect(solid, origin_m[:, None], rays.reshape(3, -1))
            t_solid = t_solid.reshape(rays.shape[1:])
            closer = t_solid < t[at]
            if closer.any():
                t[at] = np.where(closer, t_solid, t[at])
                row[at] = np.where(closer, solid, row[at])
        return Hits(t, row)

    def intersect(self, solid: int, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """First t > 0 at which rays (3, N or 1) enter one solid, (N,); inf where they miss it."""
        shape = self.solids.shape[solid]
        if shape == Shape.BLOCK:
            return self._block(solid, origins, directions)
        o = self._unit[solid] @ (origins - self.solids.centre_m[solid][:, None])
        d = self._unit[solid] @ directions
        if shape == Shape.CYLINDER:
            return _first(*_cylinder(o, d))
        return self._ellipsoid(solid, o, d)

    def _ground(self, origin_m: np.ndarray, directions: np.ndarray) -> np.ndarray:
        down = directions[2]
        with np.errstate(divide="ignore"):
            return np.where(down < 0, -origin_m[2] / np.minimum(down, 0), np.inf)

    def _block(self, solid: int, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        gap = self._offsets[solid][:, None] - self._normals[solid] @ origins  # (6, N or 1)
        speed = self._normals[solid] @ directions  # (6, N or 1)
        speed = np.where(speed == 0, 1e-30, speed)
        t = gap / speed
        enter = np.where(speed < 0, t, -np.inf).max(axis=0)
        leave = np.where(speed > 0, t, np.inf).min(axis=0)
        return _first(enter, leave)

    def _ellipsoid(self, solid: int, o: np.ndarray, d: np.ndarray) -> np.ndarray:
        enter, leave = _sphere(o, d)
        t = _first(enter, leave)
        seen = np.flatnonzero(np.isfinite(t))
        if not len(seen):
            return t
        # A ray through a gap in the near leaves may still meet the far leaves from inside.
        o_seen = np.broadcast_to(o, (3, t.size))[:, seen]
        d_seen = np.broadcast_to(d, (3, t.size))[:, seen]
        half, seed = self.solids.half_m[solid][:, None], int(self.solids.seed[solid])
        near = _is_leaf((o_seen + t[seen] * d_seen) * half, seed)
        far = _is_leaf((o_seen + leave[seen] * d_seen) * half, seed)
        t[seen] = np.where(near, t[seen], np.where(far, leave[seen], np.inf))
        return t


def _first(enter: np.ndarray, leave: np.ndarray) -> np.ndarray:
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _sphere(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (d * d).sum(0), (o * d).sum(0)
    root2 = b * b - a * ((o * o).sum(0) - 1)
    root = np.sqrt(np.maximum(root2, 0))
    return np.where(root2 > 0, (-b - root) / a, np.inf), (-b + root) / a


def _cylinder(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = np.maximum((d[:2] * d[:2]).sum(0), 1e-30)
    b = (o[:2] * d[:2]).sum(0)
    root2 = b * b - a * ((o[:2] * o[:2]).sum(0) - 1)
    root = np.sqrt(np.maximum(root2, 0))
    along = np.where(d[2] == 0, 1e-30, d[2])
    cap_0, cap_1 = (-1 - o[2]) / along, (1 - o[2]) / along
    enter = np.maximum((-b - root) / a, np.minimum(cap_0, cap_1))
    leave = np.minimum((-b + root) / a, np.maximum(cap_0, cap_1))
    return np.where(root2 > 0, enter, np.inf), leave


def _is_leaf(local_m: np.ndarray, seed: int) -> np.ndarray:
    """Whether points (3, N) on a crown carry a leaf: noise in three planes, torn at a level."""
    x, y, z = local_m / LEAF_SIZE_M
    noise = value_noise(x, y, seed) + value_noise(y, z, seed + 1) + value_noise(z, x, seed + 2)
    return noise > 3 * LEAF_GAPS
