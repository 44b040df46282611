"""Light of shop windows on the pavement: one source in front of each shop."""

from collections.abc import Iterator, Sequence

import numpy as np

from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.solids import Solid, Surface
from nightrain.datasets.world.street.openings import is_open
from nightrain.datasets.world.street.street import Street

SHOP_CD = (300.0, 1200.0)
_TINTS = ((1.12, 1.0, 0.88), (1.0, 1.0, 1.0), (1.3, 0.98, 0.72))


def is_shop(seed: int) -> bool:
    """Whether a facade with this seed has shop windows at street level, as `openings` draws it."""
    return seed % 7 < 3


def window_lamps(street: Street, houses: Sequence[Solid]) -> Iterator[Lamp]:
    """Light sources in front of houses with shop windows."""
    for house in houses:
        if house.surface is not Surface.FACADE or not is_shop(house.seed) or house.half_m[0] < 3:
            continue
        x, y, z = house.centre_m
        s, d = street.coordinates(np.array([x]), np.array([y]))
        side, at = (
            (1.0 if d[0] > 0 else -1.0),
            float(np.interp(s[0], street.grid_s_m, street.grid_x_m)),
        )
        px, py = street.place(at, float(d[0]) - side * (house.half_m[1] + 0.15))
        heading = float(street.heading_rad(at))
        low, high = SHOP_CD
        bright = low + (high - low) * (house.seed % 101) / 100
        yield Lamp(
            place_m=(px, py, z - house.half_m[2] + 1.9),
            intensity_cd=float(bright if is_open(house.seed) else 0.08 * bright),
            colour=_TINTS[house.seed % 3],
            axis=(side * float(np.sin(heading)), -side * float(np.cos(heading)), 0.0),
            half_angle_deg=60.0,
            radius_m=0.0,
            kind="window",
        )
