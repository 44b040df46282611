"""What the world is made of: convex solids as arrays, one row per solid, row 0 the ground plane.

Vectors are stored by axis, (3, N), so that sums over the axes run over contiguous rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

GROUND_ROW = 0
CORNER_SIGNS = np.array(
    [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64
)  # (8, 3)


class Shape(IntEnum):
    """How a ray meets a solid."""

    GROUND = 0  # the plane z = 0 of the world
    BLOCK = 1  # a box whose four sides may lean inwards towards the top
    CYLINDER = 2  # round about its local z
    ELLIPSOID = 3


class Surface(IntEnum):
    """What covers a solid; `materials` gives each its look."""

    STREET = 0
    PAVEMENT = 1
    FACADE = 2
    ROOF = 3
    BARK = 4
    LEAVES = 5
    METAL = 6
    BODYWORK = 7
    GLASSHOUSE = 8
    TYRE = 9
    CARGO = 10
    HEDGE = 11
    SIGN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """One convex solid; lengths in metres, colours linear RGB in [0, 1]."""

    shape: Shape
    surface: Surface
    centre_m: tuple[float, float, float]
    half_m: tuple[float, float, float]  # half extents along the local axes
    yaw_rad: float = 0.0
    lying: bool = False  # local z points along y: a wheel
    inset_m: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # +x, -x, +y, -y at the top
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5)
    seed: int = 0
    owner: int = -1  # index of the vehicle it belongs to


@dataclass(frozen=True, slots=True, kw_only=True)
class Solids:
    """Many solids (S rows), with what ray casting needs worked out."""

    shape: np.ndarray  # (S,) int
    surface: np.ndarray  # (S,) int
    R_world_local: np.ndarray  # (S, 3, 3)
    centre_m: np.ndarray  # (S, 3)
    half_m: np.ndarray  # (S, 3)
    inset_m: np.ndarray  # (S, 4)
    colour: np.ndarray  # (S, 3) float32
    accent: np.ndarray  # (S, 3) float32
    seed: np.ndarray  # (S,) int
    owner: np.ndarray  # (S,) int

    def __len__(self) -> int:
        return len(self.shape)

    def corners_m(self) -> np.ndarray:
        """Corners (S, 8, 3) of the bounding boxes in the world, metres."""
        local = CORNER_SIGNS * self.half_m[:, None, :]  # (S, 8, 3)
        return local @ self.R_world_local.transpose(0, 2, 1) + self.centre_m[:, None, :]

    def local_planes(self) -> tuple[np.ndarray, np.ndarray]:
        """Outward face normals (S, 6, 3), not unit, and offsets (S, 6) of blocks: n p <= h."""
        return block_planes(self.half_m, self.inset_m)


def block_planes(half_m: np.ndarray, inset_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces +x, -x, +y, -y, +z, -z of blocks (S,): normals (S, 6, 3), offsets (S, 6), metres."""
    lean = inset_m / (2 * np.maximum(half_m[:, 2:], 1e-9))  # (S, 4) inset per metre of height
    normals = np.zeros((len(half_m), 6, 3))
    for face, (axis, sign) in enumerate(((0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1))):
        normals[:, face, axis] = sign
    normals[:, :4, 2] = lean
    offsets = half_m[:, [0, 0, 1, 1, 2, 2]].astype(np.float64)
    offsets[:, :4] -= lean * half_m[:, 2:]
    return normals, offsets


def ground() -> Solid:
    """The endless plane z = 0 that carries the street."""
    return Solid(
        shape=Shape.GROUND, surface=Surface.STREET, centre_m=(0, 0, 0), half_m=(1.0, 1.0, 1.0)
    )


def pack(solids: Sequence[Solid]) -> Solids:
    """Put solids (S) into arrays, in order."""
    return Solids(
        shape=np.array([s.shape for s in solids], np.int64),
        surface=np.array([s.surface for s in solids], np.int64),
        R_world_local=np.array([_rotation(s) for s in solids]).reshape(-1, 3, 3),
        centre_m=np.array([s.centre_m for s in solids], np.float64).reshape(-1, 3),
        half_m=np.array([s.half_m for s in solids], np.float64).reshape(-1, 3),
        inset_m=np.array([s.inset_m for s in solids], np.float64).reshape(-1, 4),
        colour=np.array([s.colour for s in solids], np.float32).reshape(-1, 3),
        accent=np.array([s.accent for s in solids], np.float32).reshape(-1, 3),
        seed=np.array([s.seed for s in solids], np.int64),
        owner=np.array([s.owner for s in solids], np.int64),
    )


def join(parts: Sequence[Solids]) -> Solids:
    """All rows of several groups, in order."""
    fields = Solids.__dataclass_fields__
    return Solids(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in fields})


def moved(solids: Solids, T_world_body: np.ndarray, owner: int) -> Solids:
    """The solids of a body carried to its pose (4, 4) in the world, metres."""
    R, t = T_world_body[:3, :3], T_world_body[:3, 3]
    fields = {name: getattr(solids, name) for name in Solids.__dataclass_fields__}
    fields["R_world_local"] = R @ solids.R_world_local
    fields["centre_m"] = solids.centre_m @ R.T + t
    fields["owner"] = np.full(len(solids), owner)
    return Solids(**fields)


def _rotation(solid: Solid) -> np.ndarray:
    c, s = np.cos(solid.yaw_rad), np.sin(solid.yaw_rad)
    R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    lying = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    return R @ lying if solid.lying else R
