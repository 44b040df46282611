"""Surface points seen by a camera, with the inputs of their shading; (3, N) float32."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.shapes.solids import Shape, Solids


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points on surfaces; `local_m` and `normal_local` are in the coordinates of the solid."""

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
        """Select the points at `index` (M,)."""
        fields = self.__dataclass_fields__
        return Points(**{name: getattr(self, name)[..., index] for name in fields})

    def width_m(self, axis: int | np.ndarray) -> np.ndarray:
        """Width (N,) of a pixel along a local axis of the surface; larger at grazing angles.

        The pixel's disc, projected along the ray onto the surface, extends sqrt(1 + (d_u / d_n)^2)
        times its radius along u.
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
    normal: np.ndarray,
    ray: np.ndarray,
    pixel_m: np.ndarray,
) -> Points:
    """Build points from hits: rows (N,), positions, triangle normals and unit rays (3, N).

    `pixel_m` (N,) is the width of a pixel there. Round solids get their true normals.
    """
    R = np.moveaxis(solids.R_world_local[row], 0, -1).astype(np.float32)  # (3, 3, N) world, local
    local = _to_local(R, (world_m - solids.centre_m[row].T).astype(np.float32))
    ray = ray.astype(np.float32)
    ray_local = _to_local(R, ray)
    normal_local = _to_local(R, normal.astype(np.float32))
    _round_off(solids, row, local, normal_local)
    return Points(
        world_m=world_m.astype(np.float32),
        local_m=local,
        normal_local=normal_local,
        normal=np.einsum("wln,ln->wn", R, normal_local),
        ray_local=ray_local,
        ray=ray,
        pixel_m=pixel_m.astype(np.float32),
        half_m=solids.half_m[row].T.astype(np.float32),
        colour=np.ascontiguousarray(solids.colour[row].T),
        accent=np.ascontiguousarray(solids.accent[row].T),
        seed=solids.seed[row],
    )


def _to_local(R: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("wln,wn->ln", R, vectors)


def _round_off(solids: Solids, row: np.ndarray, local: np.ndarray, normal: np.ndarray) -> None:
    """Replace the facet normals of cylinders and ellipsoids by those (3, N) of the round shape."""
    shape, half = solids.shape[row], solids.half_m[row].T
    round_ = (shape == Shape.CYLINDER) & (np.abs(normal[2]) < 0.7)
    for index, axes in (
        (np.flatnonzero(round_), 2),
        (np.flatnonzero(shape == Shape.ELLIPSOID), 3),
    ):
        gradient = np.zeros((3, len(index)), np.float32)
        gradient[:axes] = local[:axes, index] / half[:axes, index] ** 2
        normal[:, index] = gradient / np.linalg.norm(gradient, axis=0)
