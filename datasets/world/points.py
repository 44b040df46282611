"""The points that a camera sees, with what their looks depend on; vectors are (3, N) float32."""

from dataclasses import dataclass

import numpy as np

from datasets.world.solids import Shape, Solids


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points on surfaces. `local_m` and `normal_local` are in the coordinates of the solid."""

    world_m: np.ndarray  # (3, N)
    local_m: np.ndarray  # (3, N)
    normal_local: np.ndarray  # (3, N) unit
    normal: np.ndarray  # (3, N) unit, world
    ray_local: np.ndarray  # (3, N) unit, from the camera
    ray: np.ndarray  # (3, N) unit, world
    pixel_m: np.ndarray  # (N,) width of a pixel at that distance
    half_m: np.ndarray  # (3, N)
    colour: np.ndarray  # (3, N)
    accent: np.ndarray  # (3, N)
    seed: np.ndarray  # (N,) int

    def take(self, index: np.ndarray) -> "Points":
        """The points at `index` (M,)."""
        fields = self.__dataclass_fields__
        return Points(**{name: getattr(self, name)[..., index] for name in fields})

    def width_m(self, axis: int | np.ndarray) -> np.ndarray:
        """Width (N,) of a pixel along a local axis of the surface, longer at grazing angles.

        The pixel's disc, carried along the ray onto the surface, reaches sqrt(1 + (d_u / d_n)^2)
        of its radius along u.
        """
        facing = (self.ray_local * self.normal_local).sum(0)
        along = self.ray_local[axis] if isinstance(axis, int) else _pick(self.ray_local, axis)
        lean = along / np.minimum(facing, -np.float32(0.02))
        return self.pixel_m * np.sqrt(1 + lean * lean)


def _pick(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.take_along_axis(vectors, axis[None], 0)[0]


def surface_points(
    solids: Solids,
    row: np.ndarray,
    world_m: np.ndarray,
    ray: np.ndarray,
    pixel_m: np.ndarray,
) -> Points:
    """Look up the solids of hits: rows (N,), points and unit rays (3, N), pixel widths (N,)."""
    R = np.moveaxis(solids.R_world_local[row], 0, -1).astype(np.float32)  # (3, 3, N) world, local
    local = _to_local(R, (world_m - solids.centre_m[row].T).astype(np.float32))
    normal_local = _normals(solids, row, local)
    return Points(
        world_m=world_m.astype(np.float32),
        local_m=local,
        normal_local=normal_local,
        normal=np.einsum("wln,ln->wn", R, normal_local),
        ray_local=_to_local(R, ray.astype(np.float32)),
        ray=ray.astype(np.float32),
        pixel_m=pixel_m.astype(np.float32),
        half_m=solids.half_m[row].T.astype(np.float32),
        colour=np.ascontiguousarray(solids.colour[row].T),
        accent=np.ascontiguousarray(solids.accent[row].T),
        seed=solids.seed[row],
    )


def _to_local(R: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("wln,wn->ln", R, vectors)


def _normals(solids: Solids, row: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Unit outward normals (3, N) in local coordinates."""
    normal = np.zeros_like(local)
    normal[2] = 1
    shape = solids.shape[row]
    for kind, rule in (
        (Shape.BLOCK, _block_normals),
        (Shape.CYLINDER, _cylinder_normals),
        (Shape.ELLIPSOID, _ellipsoid_normals),
    ):
        index = np.flatnonzero(shape == kind)
        if len(index):
            normal[:, index] = rule(solids, row[index], local[:, index])
    return normal


def _block_normals(solids: Solids, row: np.ndarray, local: np.ndarray) -> np.ndarray:
    used, inverse = np.unique(row, return_inverse=True)
    normals, offsets = solids.local_planes()
    scale = np.linalg.norm(normals[used], axis=-1)  # (U, 6)
    normals, offsets = normals[used] / scale[..., None], offsets[used] / scale
    gap = np.einsum("nfi,in->nf", normals[inverse], local) - offsets[inverse]  # (N, 6), <= 0
    face = gap.argmax(axis=1)
    return normals[inverse, face].T


def _cylinder_normals(solids: Solids, row: np.ndarray, local: np.ndarray) -> np.ndarray:
    half = solids.half_m[row].T
    radial = np.hypot(local[0], local[1])
    on_cap = np.abs(local[2]) / half[2] > radial / half[0]
    side = np.stack([local[0] / radial, local[1] / radial, np.zeros_like(radial)])
    cap = np.stack([np.zeros_like(radial), np.zeros_like(radial), np.sign(local[2])])
    return np.where(on_cap, cap, side)


def _ellipsoid_normals(solids: Solids, row: np.ndarray, local: np.ndarray) -> np.ndarray:
    gradient = local / (solids.half_m[row].T ** 2)
    return gradient / np.linalg.norm(gradient, axis=0)
