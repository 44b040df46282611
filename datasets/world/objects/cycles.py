"""Bicycles and motorcycles, with a rider or parked."""

from dataclasses import replace

import numpy as np

from nightrain.datasets.world.objects.people import RIDER, draw_person
from nightrain.datasets.world.objects.street_lamps import RED, WHITE, headlight
from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.mesh import Mesh, box, join_meshes, tube
from nightrain.datasets.world.shapes.solids import Shape, Solid, Solids, Surface, join, pack

MOTORCYCLE, BICYCLE = 17, 18  # Cityscapes' train ids
BICYCLE_M, MOTORCYCLE_M = (1.78, 0.62, 1.08), (2.15, 0.78, 1.25)  # length, width, height
RIDDEN_M = 1.78  # height with a rider
_PAINTS = ((0.35, 0.03, 0.03), (0.03, 0.05, 0.18), (0.02, 0.02, 0.02), (0.45, 0.45, 0.44),
           (0.05, 0.20, 0.10), (0.45, 0.30, 0.04))  # fmt: skip
_DARK = (0.02, 0.02, 0.022)


def bicycle(rng: np.random.Generator, ridden: bool) -> Solids:
    """Bicycle, with or without a rider; z = 0 is the ground, x forward."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    hubs = [(x, 0.0, 0.34) for x in (-0.52, 0.54)]
    wheels = [_ring(hub, 0.325, 0.02) for hub in hubs] + [_spokes(hub, 0.31) for hub in hubs]
    saddle, crank, head = (-0.20, 0, 0.90), (-0.05, 0, 0.30), (0.36, 0, 0.82)
    frame = [
        _bar(crank, saddle), _bar(crank, head), _bar((-0.17, 0, 0.80), head),
        _bar((-0.52, 0, 0.34), crank), _bar((-0.52, 0, 0.34), (-0.17, 0, 0.80)),
        _bar((0.54, 0, 0.34), head),
    ]  # fmt: skip
    dark = [
        *wheels, box((-0.22, 0, 0.93), (0.12, 0.06, 0.025)), _bar(head, (0.32, 0, 1.02)),
        _bar((0.30, -0.28, 1.04), (0.30, 0.28, 1.04)), box((-0.05, 0, 0.30), (0.09, 0.09, 0.012)),
    ]  # fmt: skip
    parts = [_part(frame, paint, BICYCLE), _part(dark, _DARK, BICYCLE)]
    return _with_rider(rng, parts, (-0.16, 0.0, 0.97)) if ridden else pack(parts)


def motorcycle(rng: np.random.Generator, ridden: bool) -> Solids:
    """Motorcycle or scooter, with or without a rider; z = 0 is the ground, x forward."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    hubs = [(x, 0.0, 0.31) for x in (-0.70, 0.74)]
    tank = _pipe([(-0.15, 0, 0.86), (0.1, 0, 0.92), (0.38, 0, 0.90)], [0.10, 0.17, 0.10])
    tail = _pipe([(-0.95, 0, 0.86), (-0.6, 0, 0.80), (-0.2, 0, 0.78)], [0.05, 0.13, 0.14])
    fairing = _pipe([(0.40, 0, 0.72), (0.62, 0, 0.86), (0.70, 0, 1.0)], [0.16, 0.17, 0.09])
    dark = [
        *(_ring(hub, 0.25, 0.07) for hub in hubs), *(_disc(hub, 0.16) for hub in hubs),
        box((0.05, 0, 0.45), (0.30, 0.15, 0.18)), box((-0.42, 0, 0.82), (0.33, 0.13, 0.045)),
        _bar((0.74, 0, 0.31), (0.45, 0, 1.0), 0.04),
        _bar((-0.7, -0.14, 0.35), (0.0, -0.17, 0.3), 0.06),
        _bar((0.40, -0.33, 1.05), (0.40, 0.33, 1.05), 0.02),
    ]  # fmt: skip
    on = float(ridden)
    glass = [_lens(0.76, 0.86, 0.09)], [_lens(-1.0, 0.86, 0.06)]
    parts = [
        _part([tank, tail, fairing], paint, MOTORCYCLE),
        _part(dark, _DARK, MOTORCYCLE),
        _part(glass[0], (0.6, 0.6, 0.6), MOTORCYCLE, Surface.HEAD_LAMP, (on, on, on)),
        _part(
            glass[1], (0.3, 0.01, 0.01), MOTORCYCLE, Surface.TAIL_LAMP, (2.7 * on, 0.2 * on, 0.1)
        ),
    ]
    return _with_rider(rng, parts, (-0.25, 0.0, 0.86), helmet=True) if ridden else pack(parts)


def motorcycle_lamps() -> tuple[Lamp, ...]:
    """Lamps of a motorcycle: one dipped headlight and one tail lamp."""
    head = replace(headlight((1.08, 0.0, 0.86)), intensity_cd=12_000.0)
    return head, _small_lamp(-1.05, 0.86, 5.0, RED, "tail")


def bicycle_lamps() -> tuple[Lamp, ...]:
    """Lamps of a bicycle: a dim one in front and one behind."""
    return (
        replace(_small_lamp(0.5, 0.9, 40.0, WHITE, "head"), axis=(1.0, 0.0, 0.0)),
        _small_lamp(-0.7, 0.75, 1.0, RED, "tail"),
    )


def _small_lamp(
    x: float, z: float, intensity_cd: float, colour: tuple[float, float, float], kind: str
) -> Lamp:
    return Lamp(place_m=(x, 0.0, z), intensity_cd=intensity_cd, colour=colour,
                axis=(-1.0, 0.0, 0.0), half_angle_deg=50.0, radius_m=0.04, kind=kind)  # fmt: skip


def _with_rider(
    rng: np.random.Generator, parts: list[Solid], seat_m: tuple[float, float, float],
    helmet: bool = False,
) -> Solids:  # fmt: skip
    """Add a rider with hips on the seat, leaning forward."""
    person = draw_person(rng, label=RIDER)
    body = person.riding()
    lean = 0.32
    c, s = np.cos(lean), np.sin(lean)
    R = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    hips = np.array([0.0, 0.0, 0.50 * person.height_m])
    upper = np.ones(len(body), bool)
    for limb in person.limbs:
        if limb.role in ("thigh", "shin", "foot"):
            upper[list(limb.rows)] = False
    centre = body.centre_m - hips
    centre[upper] = centre[upper] @ R.T
    turned = body.R_world_local.copy()
    turned[upper] = R @ turned[upper]
    # Parts of the trunk have their origin on the ground, so they rotate about the hips together.
    rider = replace(body, centre_m=centre + seat_m, R_world_local=turned)
    if helmet:
        at = R @ np.array([0.012, 0.0, 0.44 * person.height_m]) + seat_m
        shell = Solid(shape=Shape.ELLIPSOID, surface=Surface.METAL, half_m=(0.15, 0.13, 0.14),
                      centre_m=tuple(at.tolist()), colour=_DARK, label=RIDER)  # fmt: skip
        return join([pack([*parts, shell]), rider])
    return join([pack(parts), rider])


def _part(
    meshes: list[Mesh],
    colour: tuple[float, float, float],
    label: int,
    surface: Surface = Surface.METAL,
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> Solid:
    return Solid(shape=Shape.MESH, surface=surface, mesh=join_meshes(meshes), colour=colour,
                 accent=accent, label=label)  # fmt: skip


def _ring(hub: tuple[float, float, float], radius_m: float, thick_m: float) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, 17)
    axis = np.array(hub) + radius_m * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
    return tube(axis, np.full(17, thick_m), 5)


def _spokes(hub: tuple[float, float, float], radius_m: float) -> Mesh:
    x, _, z = hub
    angle = np.arange(4) * np.pi / 4
    return join_meshes(
        [
            _bar((x + dx, 0, z + dz), (x - dx, 0, z - dz), 0.004)
            for dx, dz in zip(radius_m * np.cos(angle), radius_m * np.sin(angle), strict=True)
        ]
    )


def _bar(
    start: tuple[float, float, float], end: tuple[float, float, float], radius_m: float = 0.018
) -> Mesh:
    return tube(np.array([start, end], np.float64), np.full(2, radius_m), 5)


def _pipe(axis: list[tuple[float, float, float]], radius: list[float]) -> Mesh:
    return tube(np.array(axis, np.float64), np.array(radius), 7)


def _disc(hub: tuple[float, float, float], radius_m: float) -> Mesh:
    x, _, z = hub
    return _pipe([(x, -0.05, z), (x, 0.05, z)], [radius_m, radius_m])


def _lens(x: float, z: float, radius_m: float) -> Mesh:
    return tube(np.array([(x, 0, z), (x * 1.03, 0, z)]), np.full(2, radius_m), 8)
