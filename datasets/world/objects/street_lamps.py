"""Lamps of streets and vehicles: positions and intensities."""

import numpy as np

from nightrain.datasets.world.shapes.lamps import Lamp

WARM, WHITE, COOL = (1.55, 0.98, 0.47), (1.06, 1.02, 0.92), (0.94, 1.0, 1.06)
RED = (2.7, 0.18, 0.12)
HEAD_CD, TAIL_CD, LAMP_CD = 20_000.0, 7.0, 5_500.0


def vehicle_lamps(
    length_m: float, width_m: float, head_m: float, tail_m: float
) -> tuple[Lamp, ...]:
    """Dipped headlights and tail lamps of a vehicle with its origin on the ground amidships."""
    x, y = length_m / 2 + 0.02, 0.36 * width_m
    heads = [headlight((x, side * y, head_m)) for side in (1, -1)]
    tails = [
        Lamp(
            place_m=(-x, side * 1.1 * y, tail_m),
            intensity_cd=TAIL_CD,
            colour=RED,
            axis=(-1.0, 0.0, 0.0),
            half_angle_deg=60.0,
            radius_m=0.08,
            kind="tail",
        )
        for side in (1, -1)
    ]
    return (*heads, *tails)


def headlight(place_m: tuple[float, float, float]) -> Lamp:
    """Dipped headlight that points ahead along x and one degree down."""
    down = float(np.radians(1.0))
    return Lamp(
        place_m=place_m,
        intensity_cd=HEAD_CD,
        colour=WHITE,
        axis=(float(np.cos(down)), 0.0, -float(np.sin(down))),
        half_angle_deg=14.0,
        radius_m=0.07,
        kind="head",
    )


def ego_lamps() -> tuple[Lamp, ...]:
    """Dipped headlights of the ego vehicle, in its coordinates (origin under the rear axle)."""
    return tuple(headlight((3.6, side * 0.6, 0.65)) for side in (1, -1))
