"""Vehicles in local coordinates: x forward, y left, z up, origin on the ground amidships."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from nightrain.datasets.world.objects.car_body import skin
from nightrain.datasets.world.objects.street_lamps import vehicle_lamps
from nightrain.datasets.world.objects.vehicle_models import (
    BUS,
    CARS,
    TAXI_PAINT,
    TRUCK,
    TRUCK_LOAD_M,
    VAN,
    Model,
)
from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.mesh import Mesh, box, join_meshes, tube
from nightrain.datasets.world.shapes.solids import Shape, Solid, Solids, Surface, pack

Colour = tuple[float, float, float]

PAINTS: tuple[Colour, ...] = (
    (0.55, 0.56, 0.57), (0.03, 0.03, 0.035), (0.70, 0.70, 0.68), (0.32, 0.33, 0.34),
    (0.36, 0.02, 0.02), (0.03, 0.07, 0.22), (0.14, 0.15, 0.16), (0.05, 0.06, 0.07),
    (0.05, 0.15, 0.11), (0.42, 0.28, 0.07), (0.10, 0.20, 0.30), (0.46, 0.44, 0.40),
    (0.62, 0.63, 0.62), (0.20, 0.05, 0.04),
)  # fmt: skip
BUS_PAINTS: tuple[Colour, ...] = ((0.55, 0.40, 0.10), (0.45, 0.04, 0.03), (0.6, 0.6, 0.58),
                                  (0.05, 0.20, 0.10), (0.05, 0.12, 0.35))  # fmt: skip
DARK, RUBBER = (0.025, 0.025, 0.028), (0.02, 0.02, 0.02)


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """Painted vehicle of one kind."""

    model: Model
    paint: Colour
    seed: int
    taxi: bool = False

    @property
    def category(self) -> str:
        """nuScenes category."""
        return self.model.category

    @property
    def size_m(self) -> tuple[float, float, float]:
        """Length, width, height."""
        shell = self.model.shell
        return shell.length_m, shell.width_m, self.model.height_m

    def lamps(self) -> tuple[Lamp, ...]:
        """Lamps that are lit when it is driven at night."""
        length, width, _ = self.size_m
        return vehicle_lamps(length, width, self.model.head_m, self.model.tail_m)

    def solids(self, driven: bool) -> Solids:
        """Solids of the vehicle; its lamps are off unless it is driven."""
        parts = [*_body(self), *_lamps(self, driven), *_wheels(self.model, self.seed)]
        if self.model is TRUCK:
            parts += _load(self)
        return pack(parts)


def pick(rng: np.random.Generator, large: float, *, bus: bool = True) -> Vehicle:
    """Draw a vehicle; `large` is the share of vans, trucks and buses."""
    seed = int(rng.integers(1 << 16))
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    if rng.random() < large:
        kind = (VAN, VAN, TRUCK, BUS if bus else VAN)[int(rng.integers(4))]
        if kind is BUS:
            paint = BUS_PAINTS[int(rng.integers(len(BUS_PAINTS)))]
        return Vehicle(model=kind, paint=paint, seed=seed)
    model = CARS[int(rng.integers(len(CARS)))]
    taxi = bool(rng.random() < 0.07)
    return Vehicle(model=model, paint=TAXI_PAINT if taxi else paint, seed=seed, taxi=taxi)


def _body(vehicle: Vehicle) -> list[Solid]:
    model, shell = vehicle.model, vehicle.model.shell
    paint, panes = skin(shell)
    half = (shell.length_m / 2, shell.width_m / 2, shell.height_m / 2)
    axles = (shell.axles_m[-1], shell.axles_m[0], model.belt_m)  # positions of the door seams
    parts = [
        _mesh(vehicle, Surface.BODYWORK, paint, vehicle.paint, half, axles),
        _mesh(vehicle, Surface.GLASSHOUSE, panes, vehicle.paint, half),
        _mesh(vehicle, Surface.METAL, _trim(model), DARK),
        _mesh(vehicle, Surface.PLATE, _plates(model), (0.62, 0.62, 0.58)),
    ]
    if model.rear_pane_m is not None:
        low, high, wide = model.rear_pane_m
        pane = box((-half[0] - 0.004, 0.0, (low + high) / 2), (0.012, wide, (high - low) / 2))
        parts.append(_mesh(vehicle, Surface.GLASSHOUSE, pane, vehicle.paint, half))
    if vehicle.taxi:
        sign = box((0.0, 0.0, shell.height_m + 0.06), (0.10, 0.28, 0.07))
        parts.append(_mesh(vehicle, Surface.SIGN, sign, (0.7, 0.65, 0.4)))
    return parts


def _mesh(
    vehicle: Vehicle,
    surface: Surface,
    mesh: Mesh,
    colour: Colour,
    half_m: Colour = (1.0, 1.0, 1.0),
    accent: Colour = (0.5, 0.5, 0.5),
) -> Solid:
    return Solid(
        shape=Shape.MESH, surface=surface, mesh=mesh, colour=colour, accent=accent, half_m=half_m,
        seed=vehicle.seed, label=vehicle.model.label,
    )  # fmt: skip


@cache
def _trim(model: Model) -> Mesh:
    """Grille, bumpers, mirrors, the dark underside."""
    shell = model.shell
    half_l, half_w = shell.length_m / 2, shell.width_m / 2
    low = shell.floor_m + 0.14
    parts = [
        box((half_l - 0.02, 0, model.head_m - 0.03), (0.03, 0.38 * half_w, 0.06)),
        box((half_l - 0.02, 0, low + 0.10), (0.045, 0.62 * half_w, 0.06)),
        box((0.02 - half_l, 0, low), (0.045, 0.70 * half_w, 0.07)),
        box((0, 0, shell.floor_m + 0.06), (0.86 * half_l, 0.72 * half_w, 0.07)),
    ]
    x, z = model.mirror_m
    parts += [box((x, side * (half_w + 0.06), z), (0.05, 0.11, 0.08)) for side in (-1, 1)]
    return join_meshes(parts)


@cache
def _plates(model: Model) -> Mesh:
    half_l = model.shell.length_m / 2
    front = box((half_l + 0.03, 0, model.shell.floor_m + 0.22), (0.012, 0.26, 0.055))
    return join_meshes([front, box((-half_l - 0.015, 0, model.plate_m), (0.012, 0.26, 0.055))])


def _lamps(vehicle: Vehicle, driven: bool) -> list[Solid]:
    on = float(driven)
    front, rear = _glasses(vehicle.model)
    return [
        _mesh(vehicle, Surface.HEAD_LAMP, front, (0.62, 0.63, 0.62),
              accent=(1.06 * on, 1.02 * on, 0.92 * on)),
        _mesh(vehicle, Surface.TAIL_LAMP, rear, (0.36, 0.012, 0.012),
              accent=(2.7 * on, 0.18 * on, 0.12 * on)),
    ]  # fmt: skip


@cache
def _glasses(model: Model) -> tuple[Mesh, Mesh]:
    """Lamp glasses at the corners of the body."""
    shell = model.shell
    half_l, half_w = shell.length_m / 2, shell.width_m / 2
    nose, tail = half_w * (1 - shell.nose), half_w * (1 - shell.tail)
    out = 0.16 * min(half_l, 2.4) * shell.nose
    front = [
        _lamp(half_l - 0.5 * out, side * (nose - 0.12), model.head_m, side, (0.16, 0.075), out)
        for side in (-1, 1)
    ]
    tall = model.tail_half_m
    rear = [
        box((-half_l + 0.035, side * (tail - 0.10), model.tail_m), (0.055, 0.125, tall))
        for side in (-1, 1)
    ]
    return join_meshes(front), join_meshes(rear)


def _lamp(
    x: float, y: float, z: float, side: int, half_m: tuple[float, float], back: float
) -> Mesh:
    """Lamp glass that wraps around the corner: its outer end is farther back."""
    wide, high = half_m
    outer, inner = y + side * wide, y - side * wide
    axis = np.array([(x + 0.02, inner, z), (x, y, z), (x - 1.2 * back - 0.10, outer, z + 0.01)])
    return tube(axis, np.array([0.7, 1.0, 0.6]) * high, 6)


def _wheels(model: Model, seed: int) -> list[Solid]:
    shell = model.shell
    r, side = shell.wheel_m, shell.width_m / 2 - 0.115
    return [
        Solid(shape=Shape.CYLINDER, surface=Surface.TYRE, centre_m=(x, s * side, r),
              half_m=(r, r, 0.11), lying=True, seed=seed, label=model.label)
        for x in shell.axles_m
        for s in (-1, 1)
    ]  # fmt: skip


def _load(vehicle: Vehicle) -> list[Solid]:
    """Cargo box and frame of a truck, behind its cab."""
    low, high, front, rear, half_w = TRUCK_LOAD_M
    rng = np.random.default_rng(vehicle.seed)
    cover = ((0.66, 0.66, 0.64), (0.55, 0.56, 0.58), (0.10, 0.16, 0.30), (0.35, 0.06, 0.05))
    colour = cover[int(rng.integers(len(cover)))]
    half = ((front - rear) / 2, half_w, (high - low) / 2)
    centre = ((front + rear) / 2, 0.0, (high + low) / 2)
    frame = box((centre[0], 0.0, low - 0.22), (half[0], 0.45 * half_w, 0.2))
    guard = [box((rear + 0.05, 0, 0.55), (0.04, 0.9 * half_w, 0.08))]
    return [
        Solid(shape=Shape.BLOCK, surface=Surface.CARGO, centre_m=centre, half_m=half,
              colour=colour, accent=vehicle.paint, seed=vehicle.seed, label=vehicle.model.label),
        _mesh(vehicle, Surface.METAL, join_meshes([frame, *guard]), DARK),
    ]  # fmt: skip
