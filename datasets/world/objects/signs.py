"""Road signs of several shapes, and traffic lights with their lamps."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.mesh import Mesh, box, loft, tube
from nightrain.datasets.world.shapes.solids import Solid, Surface
from nightrain.datasets.world.street.placing import GREY, ZINC, body, chance, post
from nightrain.datasets.world.street.street import Street

SIGN, LIGHT = 7, 6  # Cityscapes' train ids
PLATES = (  # corners of the plate, half size in metres, colour
    (4, 0.32, (0.02, 0.08, 0.35)),
    (16, 0.31, (0.50, 0.02, 0.02)),
    (16, 0.31, (0.02, 0.08, 0.35)),
    (3, 0.42, (0.50, 0.02, 0.02)),
    (8, 0.36, (0.48, 0.02, 0.02)),
    (4, 0.34, (0.55, 0.40, 0.02)),
    (4, 0.30, (0.03, 0.22, 0.08)),
)
SIGNAL_COLOURS = {"red": (2.7, 0.2, 0.1), "green": (0.25, 2.0, 0.75)}
SIGNAL_CD = 200.0


def draw(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Draw the signs of both sides; they face the traffic of their side."""
    for side in (-1, 1):
        for low, high in street.stretches(2.0):
            x = low + float(rng.uniform(6, 25))
            while x < high:
                d = side * (street.half_road_m + 0.35)
                yield post(street, x, d, 2.9, 0.032, ZINC)
                yield from _plates(rng, street, x, d, side)
                x += float(rng.uniform(18, 55))


def _plates(
    rng: np.random.Generator, street: Street, x: float, d: float, side: int
) -> Iterator[Solid]:
    z = 2.55
    facing = 0.0 if side < 0 else np.pi  # local -x faces the oncoming traffic
    for _ in range(1 + chance(rng, 0.3)):
        corners, half, colour = PLATES[int(rng.integers(len(PLATES)))]
        plate = _plate(corners, half, z)
        yield body(street, Surface.SIGN, x, d, [plate], colour=colour, label=SIGN, turn_rad=facing,
                   seed=int(rng.integers(256)), half_m=(float(corners), half, z))  # fmt: skip
        z -= 2 * half + 0.08


def _plate(corners: int, half_m: float, z_m: float) -> Mesh:
    """Flat plate on its post, standing on one side except for the triangle."""
    angle = np.pi / 2 + 2 * np.pi * np.arange(corners) / corners
    angle += np.pi / corners if corners % 2 == 0 else 0.0
    reach = half_m / np.cos(np.pi / corners) if corners == 4 else half_m
    ring = reach * np.stack([np.cos(angle), np.sin(angle)], 1)
    return loft(np.array([np.column_stack([np.full(corners, x), ring[:, 0], ring[:, 1] + z_m])
                          for x in (-0.045, -0.06)]))  # fmt: skip


def signals(street: Street, green: bool) -> Iterator[Solid]:
    """Traffic lights of a street at its junction, on both approaches."""
    for x, d, ahead in _approaches(street):
        yield post(street, x, d, 3.3, 0.06, GREY)
        case = box((0.0, 0.0, 2.75), (0.12, 0.15, 0.45))
        yield body(street, Surface.METAL, x, d, [case], colour=(0.03, 0.03, 0.03), label=LIGHT)
        for k, (name, colour) in enumerate(
            (("red", (2.7, 0.2, 0.1)), ("amber", (1.9, 1.0, 0.1)), ("green", (0.25, 2.0, 0.75)))
        ):
            on = name == ("green" if green else "red")
            lens = _lens(-ahead * 0.125, 3.03 - 0.28 * k)
            dull = tuple(0.08 * c for c in colour)
            yield body(street, Surface.SIGNAL, x, d, [lens], colour=(dull[0], dull[1], dull[2]),
                       accent=colour if on else (0.0, 0.0, 0.0), label=LIGHT)  # fmt: skip


def signal_lamps(street: Street, green: bool) -> Iterator[Lamp]:
    """The lit lamp of each traffic light."""
    for x, d, ahead in _approaches(street):
        px, py, pz = street.foot(x, d)
        heading = float(street.heading_rad(x))
        axis = (-ahead * float(np.cos(heading)), -ahead * float(np.sin(heading)), 0.0)
        yield Lamp(
            place_m=(px + 0.2 * axis[0], py + 0.2 * axis[1], pz + (2.47 if green else 3.03)),
            intensity_cd=SIGNAL_CD,
            colour=SIGNAL_COLOURS["green" if green else "red"],
            axis=axis,
            half_angle_deg=35.0,
            kind="signal",
        )


def _approaches(street: Street) -> Iterator[tuple[float, float, int]]:
    """x, d and driving direction of the traffic lights on the near side of the junction."""
    low, high = street.gap_m
    yield low + 0.4, -(street.half_road_m + 0.6), 1
    yield high - 0.4, street.half_road_m + 0.6, -1


def _lens(x_m: float, z_m: float) -> Mesh:
    return tube(np.array([(x_m, 0, z_m), (1.06 * x_m, 0, z_m)]), np.full(2, 0.10), 8)
