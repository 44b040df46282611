"""Placement along a street: blocks, posts and meshes at (x, d) of its course."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.world.shapes.mesh import Mesh, join_meshes
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface
from nightrain.datasets.world.street.street import Street

Colour = tuple[float, float, float]
Half = tuple[float, float, float]

GREY: Colour = (0.18, 0.19, 0.19)
ZINC: Colour = (0.36, 0.37, 0.38)


def block(
    street: Street,
    surface: Surface,
    x_m: float,
    d_m: float,
    half_m: Half,
    base_m: float = 0.0,
    *,
    colour: Colour = (0.5, 0.5, 0.5),
    accent: Colour = (0.5, 0.5, 0.5),
    seed: int = 0,
    inset_m: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    label: int = -1,
) -> Solid:
    """Block aligned with the street, with its foot `base_m` above the ground at (x, d)."""
    x, y, z = street.foot(x_m, d_m)
    return Solid(
        shape=Shape.BLOCK,
        surface=surface,
        centre_m=(x, y, z + base_m + half_m[2]),
        half_m=half_m,
        yaw_rad=float(street.heading_rad(x_m)),
        colour=colour,
        accent=accent,
        seed=seed,
        inset_m=inset_m,
        label=label,
    )


def post(
    street: Street,
    x_m: float,
    d_m: float,
    height_m: float,
    radius_m: float,
    colour: Colour = GREY,
    label: int = -1,
) -> Solid:
    """Round upright post."""
    x, y, z = street.foot(x_m, d_m)
    return Solid(
        shape=Shape.CYLINDER,
        surface=Surface.METAL,
        centre_m=(x, y, z + height_m / 2),
        half_m=(radius_m, radius_m, height_m / 2),
        colour=colour,
        label=label,
    )


def body(
    street: Street,
    surface: Surface,
    x_m: float,
    d_m: float,
    meshes: Sequence[Mesh],
    *,
    colour: Colour = GREY,
    accent: Colour = (0.5, 0.5, 0.5),
    seed: int = 0,
    label: int = -1,
    turn_rad: float = 0.0,
    half_m: Half = (1.0, 1.0, 1.0),
) -> Solid:
    """Meshes placed at (x, d): x along the street, y to the left, z up."""
    return Solid(
        shape=Shape.MESH,
        surface=surface,
        centre_m=street.foot(x_m, d_m),
        yaw_rad=float(street.heading_rad(x_m)) + turn_rad,
        mesh=join_meshes(list(meshes)),
        half_m=half_m,
        colour=colour,
        accent=accent,
        seed=seed,
        label=label,
    )


def chance(rng: np.random.Generator, share: float) -> bool:
    """Return True with probability `share`."""
    return bool(rng.random() < share)


def one_of(rng: np.random.Generator, stock: Sequence[Colour]) -> Colour:
    """Pick one of several colours."""
    return stock[int(rng.integers(len(stock)))]
