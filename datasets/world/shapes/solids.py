"""Solids as arrays, one row each, with the triangles that rays hit."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from nightrain.datasets.world.shapes import mesh
from nightrain.datasets.world.shapes.mesh import Mesh


class Shape(IntEnum):
    """Shape of a solid in its local coordinates."""

    BLOCK = 0  # a box whose four sides may lean inwards towards the top
    CYLINDER = 1  # around its local z
    ELLIPSOID = 2
    MESH = 3  # triangles of its own


class Surface(IntEnum):
    """Surface kind of a solid; it selects the material and the semantic class."""

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
    LAWN = 13
    CROSS_STREET = 14  # asphalt of the cross street
    YARD = 15  # worn paving beyond the pavement
    CONCRETE = 16
    CLOTH = 17
    SKIN = 18
    GLASS = 19  # panes of shelters
    HEAD_LAMP = 20  # glass of lamps: `accent` is their light, 0 if off
    TAIL_LAMP = 21
    STREET_LAMP = 22
    SIGNAL = 23
    POSTER = 24
    WOOD = 25
    PLATE = 26
    WATER = 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """One solid; lengths in metres, colours in linear RGB in [0, 1]."""

    shape: Shape
    surface: Surface
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half_m: tuple[float, float, float] = (1.0, 1.0, 1.0)  # half extents along the local axes
    yaw_rad: float = 0.0
    lying: bool = False  # local z points along y: a wheel
    inset_m: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # +x, -x, +y, -y at the top
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5)
    seed: int = 0
    label: int = -1  # Cityscapes train id; -1: that of the surface
    mesh: Mesh | None = None  # of a solid of shape MESH, in local metres

    def triangles_m(self) -> np.ndarray:
        """Corners (F, 3, 3) of its triangles in local metres."""
        half = np.array(self.half_m, np.float64)
        if self.shape is Shape.BLOCK:
            return mesh.block(half, np.array(self.inset_m)).triangles_m
        if self.shape is Shape.CYLINDER:
            return mesh.cylinder(half).triangles_m
        if self.shape is Shape.ELLIPSOID:
            return mesh.ellipsoid(half).triangles_m
        if self.mesh is None:
            raise ValueError("a solid of shape MESH needs its mesh")
        return self.mesh.triangles_m


@dataclass(frozen=True, slots=True, kw_only=True)
class Solids:
    """Arrays of S solids and their T triangles, which stay in local coordinates."""

    shape: np.ndarray  # (S,) int
    surface: np.ndarray  # (S,) int
    R_world_local: np.ndarray  # (S, 3, 3)
    centre_m: np.ndarray  # (S, 3)
    half_m: np.ndarray  # (S, 3)
    colour: np.ndarray  # (S, 3) float32
    accent: np.ndarray  # (S, 3) float32
    seed: np.ndarray  # (S,) int
    label: np.ndarray  # (S,) int, Cityscapes train id, -1: that of the surface
    owner: np.ndarray  # (S,) int, index of the actor it belongs to, -1 for none
    triangles_m: np.ndarray  # (T, 3, 3) float32, corners in the coordinates of their row
    row: np.ndarray  # (T,) int, of each triangle

    def __len__(self) -> int:
        return len(self.shape)

    def world_triangles_m(self) -> np.ndarray:
        """Corners (T, 3, 3) float64 of the triangles in the world, metres."""
        R = self.R_world_local[self.row].transpose(0, 2, 1)  # (T, 3, 3)
        return self.triangles_m @ R + self.centre_m[self.row][:, None, :]


_PER_ROW = tuple(name for name in Solids.__dataclass_fields__ if name not in ("triangles_m", "row"))


def pack(solids: Sequence[Solid]) -> Solids:
    """Pack S solids into arrays, in order."""
    triangles = [s.triangles_m() for s in solids]
    return Solids(
        shape=np.array([s.shape for s in solids], np.int64),
        surface=np.array([s.surface for s in solids], np.int64),
        R_world_local=np.array([_rotation(s) for s in solids]).reshape(-1, 3, 3),
        centre_m=np.array([s.centre_m for s in solids], np.float64).reshape(-1, 3),
        half_m=np.array([s.half_m for s in solids], np.float64).reshape(-1, 3),
        colour=np.array([s.colour for s in solids], np.float32).reshape(-1, 3),
        accent=np.array([s.accent for s in solids], np.float32).reshape(-1, 3),
        seed=np.array([s.seed for s in solids], np.int64),
        label=np.array([s.label for s in solids], np.int64),
        owner=np.full(len(solids), -1),
        triangles_m=np.concatenate([np.zeros((0, 3, 3)), *triangles]).astype(np.float32),
        row=np.repeat(np.arange(len(solids)), [len(t) for t in triangles]),
    )


def join(parts: Sequence[Solids]) -> Solids:
    """Concatenate the rows and triangles of several groups, in order."""
    starts = np.cumsum([0, *(len(p) for p in parts[:-1])])
    return Solids(
        **_joined_rows(parts),
        triangles_m=np.concatenate([p.triangles_m for p in parts]),
        row=np.concatenate([p.row + start for p, start in zip(parts, starts, strict=True)]),
    )


def join_rows(parts: Sequence[Solids]) -> Solids:
    """Concatenate rows without their triangles, which suffices to look up a hit."""
    none = {"triangles_m": np.zeros((0, 3, 3), np.float32), "row": np.zeros(0, np.int64)}
    return Solids(**_joined_rows(parts), **none)


def _joined_rows(parts: Sequence[Solids]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([getattr(p, name) for p in parts]) for name in _PER_ROW}


def moved(solids: Solids, T_world_body: np.ndarray, owner: int = -1) -> Solids:
    """Transform the solids of a body by its pose (4, 4) in the world, metres."""
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
