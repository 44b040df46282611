"""Vehicles from a few solids each; x forward, y left, z up, origin on the ground amidships."""

from dataclasses import dataclass

import numpy as np

from datasets.world.solids import Shape, Solid, Solids, Surface, pack

PAINTS = (
    (0.55, 0.56, 0.57),
    (0.03, 0.03, 0.035),
    (0.70, 0.70, 0.68),
    (0.36, 0.02, 0.02),
    (0.03, 0.08, 0.26),
    (0.14, 0.15, 0.16),
    (0.05, 0.17, 0.12),
    (0.42, 0.28, 0.07),
    (0.10, 0.20, 0.30),
    (0.46, 0.44, 0.40),
)
WHEEL_PLACE = 0.62  # of the half length


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Measures of one kind of vehicle, metres."""

    category: str  # nuScenes' name
    length_m: float
    width_m: float
    height_m: float
    belt_m: float  # height of the lower edge of the windows
    wheel_m: float  # radius
    cabin: tuple[float, float]  # where it stands along x, front and rear, shares of the half length
    rake: tuple[float, float]  # how far windscreen and rear window lean, metres


CARS = (
    Model(
        category="vehicle.car",
        length_m=4.6,
        width_m=1.82,
        height_m=1.45,
        belt_m=0.92,
        wheel_m=0.32,
        cabin=(0.46, -0.72),
        rake=(0.75, 0.55),
    ),
    Model(
        category="vehicle.car",
        length_m=4.0,
        width_m=1.76,
        height_m=1.50,
        belt_m=0.95,
        wheel_m=0.31,
        cabin=(0.50, -0.97),
        rake=(0.70, 0.30),
    ),
    Model(
        category="vehicle.car",
        length_m=4.7,
        width_m=1.90,
        height_m=1.72,
        belt_m=1.10,
        wheel_m=0.37,
        cabin=(0.48, -0.97),
        rake=(0.62, 0.25),
    ),
)
VAN = Model(
    category="vehicle.car",
    length_m=5.3,
    width_m=2.0,
    height_m=2.15,
    belt_m=1.25,
    wheel_m=0.34,
    cabin=(0.72, -0.99),
    rake=(0.60, 0.06),
)
TRUCK = Model(
    category="vehicle.truck",
    length_m=7.4,
    width_m=2.4,
    height_m=3.2,
    belt_m=1.35,
    wheel_m=0.45,
    cabin=(0.98, 0.62),
    rake=(0.25, 0.02),
)


def build(model: Model, paint: tuple[float, float, float], seed: int) -> Solids:
    """The solids of one vehicle in its own coordinates, metres."""
    parts = _truck(model, paint, seed) if model is TRUCK else _car(model, paint, seed)
    return pack([*parts, *_wheels(model, seed)])


def _car(model: Model, paint: tuple[float, float, float], seed: int) -> list[Solid]:
    half_l, half_w = model.length_m / 2, model.width_m / 2
    waist, floor = model.belt_m - 0.26, 0.24
    sill = _block(
        Surface.BODYWORK, 0.0, half_l, half_w, floor, waist, (0.04, 0.04, 0.0, 0.0), paint, seed
    )
    shoulder = _block(
        Surface.BODYWORK,
        0.0,
        half_l - 0.03,
        half_w,
        waist,
        model.belt_m,
        (0.22, 0.12, 0.07, 0.07),
        paint,
        seed + 1,
    )
    return [sill, shoulder, *_cabin(model, half_w - 0.07, paint, seed)]


def _cabin(
    model: Model, half_w: float, paint: tuple[float, float, float], seed: int
) -> list[Solid]:
    half_l = model.length_m / 2
    front, rear = model.cabin[0] * half_l, model.cabin[1] * half_l
    middle, half_cabin = (front + rear) / 2, (front - rear) / 2
    roof = model.height_m - 0.05
    lean = (*model.rake, 0.17, 0.17)
    glass = _block(
        Surface.GLASSHOUSE, middle, half_cabin, half_w, model.belt_m, roof, lean, paint, seed
    )
    top_middle = middle + (lean[1] - lean[0]) / 2
    top_half = half_cabin - (lean[0] + lean[1]) / 2
    edge = (0.12, 0.10, 0.09, 0.09)
    top = _block(
        Surface.BODYWORK,
        top_middle,
        top_half + 0.02,
        half_w - 0.16,
        roof,
        model.height_m,
        edge,
        paint,
        seed + 2,
    )
    return [glass, top]


def _truck(model: Model, paint: tuple[float, float, float], seed: int) -> list[Solid]:
    half_l, half_w = model.length_m / 2, model.width_m / 2
    cab_rear = (model.cabin[1] - 0.02) * half_l
    cab_middle, cab_half = (half_l + cab_rear) / 2, (half_l - cab_rear) / 2
    level = (0.0, 0.0, 0.0, 0.0)
    dark, white = (0.04, 0.04, 0.045), (0.66, 0.66, 0.64)
    nose = _block(
        Surface.BODYWORK,
        cab_middle,
        cab_half,
        half_w - 0.1,
        0.45,
        model.belt_m,
        level,
        paint,
        seed,
    )
    lean = (*model.rake, 0.06, 0.06)
    glass = _block(
        Surface.GLASSHOUSE,
        cab_middle,
        cab_half,
        half_w - 0.1,
        model.belt_m,
        2.35,
        lean,
        paint,
        seed,
    )
    load_half = (cab_rear - 0.1 + half_l) / 2
    load_x = load_half - half_l
    frame = _block(Surface.METAL, load_x, load_half, half_w - 0.5, 0.55, 0.95, level, dark, seed)
    load = _block(
        Surface.CARGO, load_x, load_half, half_w, 0.95, model.height_m, level, white, seed, paint
    )
    tail = _block(Surface.BODYWORK, 0.1 - half_l, 0.1, half_w - 0.1, 0.45, 0.95, level, dark, seed)
    return [nose, glass, frame, load, tail]


def _wheels(model: Model, seed: int) -> list[Solid]:
    x, r = WHEEL_PLACE * model.length_m / 2, model.wheel_m
    side = model.width_m / 2 - 0.10
    return [
        Solid(
            shape=Shape.CYLINDER,
            surface=Surface.TYRE,
            centre_m=(sx * x, sy * side, r),
            half_m=(r, r, 0.12),
            lying=True,
            seed=seed,
        )
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def _block(
    surface: Surface,
    x_m: float,
    half_l: float,
    half_w: float,
    low_m: float,
    high_m: float,
    inset_m: tuple[float, float, float, float],
    colour: tuple[float, float, float],
    seed: int,
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> Solid:
    return Solid(
        shape=Shape.BLOCK,
        surface=surface,
        centre_m=(x_m, 0.0, (low_m + high_m) / 2),
        half_m=(half_l, half_w, (high_m - low_m) / 2),
        inset_m=inset_m,
        colour=colour,
        accent=accent,
        seed=seed,
    )


def pick(rng: np.random.Generator, large: float) -> tuple[Model, tuple[float, float, float]]:
    """A model and a paint by chance; `large` is the share of vans and trucks."""
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    if rng.random() < large:
        return (VAN if rng.random() < 0.6 else TRUCK), paint
    return CARS[int(rng.integers(len(CARS)))], paint
