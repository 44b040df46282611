"""Ray casting: Embree finds the triangle, and its plane gives the exact distance.

Rays are o + t d with d scaled by the caller: with d_z = 1 in a camera, t is the z-depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from nightrain.datasets.world.shapes.solids import Solids

NO_HIT = -1
FAR = 1e30  # fits into float32; Embree's own infinity is 1e37


class Geometry:
    """Solids with an Embree index over their triangles; rows are those of the solids."""

    def __init__(self, solids: Solids) -> None:
        self.solids = solids
        corners = solids.world_triangles_m()  # (T, 3, 3)
        self._corner_m = corners[:, 0]
        self._normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._scene = EmbreeScene(robust=True)
        if len(corners):
            self._mesh = TriangleMesh(self._scene, corners.astype(np.float32))

    def nearest(
        self, origins: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nearest hits of rays (N, 3): t (N,), inf for none, row (N,), normal (3, N), not unit."""
        if not len(self._normal):
            none = len(directions)
            return np.full(none, np.inf), np.full(none, NO_HIT), np.zeros((3, none))
        face = self._scene.run(_f32(origins), _f32(directions), query="INTERSECT")
        met = np.flatnonzero(face >= 0)
        normal, t = np.zeros((len(face), 3)), np.full(len(face), np.inf)
        normal[met] = self._normal[face[met]]
        gap = self._corner_m[face[met]] - origins[met]
        along = (normal[met] * directions[met]).sum(1)
        flat = np.abs(along) < 1e-12  # exactly edge-on: no distance, no hit
        t[met] = np.where(flat, np.inf, (normal[met] * gap).sum(1) / np.where(flat, 1, along))
        row = np.where(np.isfinite(t), self.solids.row[face], NO_HIT)
        return t, row, normal.T

    def blocks(self, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Whether rays (N, 3) are blocked before t = reach (N,)."""
        if not len(self._normal):
            return np.zeros(len(directions), bool)
        found = self._scene.run(_f32(origins), _f32(directions), _f32(reach), query="OCCLUDED")
        return found >= 0


@dataclass(frozen=True, slots=True)
class Hits:
    """Nearest hit of each ray: t (...), inf for none; row of the solid, -1 for none."""

    t: np.ndarray
    row: np.ndarray
    normal: np.ndarray  # (3, ...) unit, of the triangle, turned towards the ray's origin


class Caster:
    """Several geometries cast as one; their rows are concatenated, as in `join`."""

    def __init__(self, geometries: Sequence[Geometry]) -> None:
        self._geometries = geometries

    def cast(self, origin_m: np.ndarray, directions: np.ndarray) -> Hits:
        """Nearest hits of rays (3, ...) from one origin (3,) or from origins (3, ...)."""
        origins, rays = _as_rows(origin_m, directions)
        t, row = np.full(len(rays), np.inf), np.full(len(rays), NO_HIT, np.int32)
        normal = np.zeros((3, len(rays)))
        first = 0
        for geometry in self._geometries:
            t_here, row_here, normal_here = geometry.nearest(origins, rays)
            closer = t_here < t
            t = np.where(closer, t_here, t)
            row = np.where(closer, row_here + first, row).astype(np.int32)
            normal = np.where(closer, normal_here, normal)
            first += len(geometry.solids)
        normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-30)
        normal *= np.where((normal * rays.T).sum(0) > 0, -1.0, 1.0)
        shape = directions.shape[1:]
        return Hits(t.reshape(shape), row.reshape(shape), normal.reshape(3, *shape))

    def blocked(
        self, origin_m: np.ndarray, directions: np.ndarray, reach: np.ndarray | float = FAR
    ) -> np.ndarray:
        """Whether rays (3, ...) are blocked before t = reach (...)."""
        origins, rays = _as_rows(origin_m, directions)
        limit = np.broadcast_to(reach, directions.shape[1:]).ravel()
        hit = np.zeros(len(rays), bool)
        for geometry in self._geometries:
            open_ = np.flatnonzero(~hit)
            hit[open_] = geometry.blocks(origins[open_], rays[open_], limit[open_])
        return hit.reshape(directions.shape[1:])


def _as_rows(origin_m: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions as rows, (N, 3) float64."""
    rays = directions.reshape(3, -1).T.astype(np.float64)
    at = origin_m[:, None] if origin_m.ndim == 1 else origin_m.reshape(3, -1)
    return np.broadcast_to(at, (3, len(rays))).T, rays


def _f32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
