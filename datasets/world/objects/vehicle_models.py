"""Dimensions of the kinds of vehicle, after typical ones on the road; metres."""

from dataclasses import dataclass

from nightrain.datasets.world.objects.car_body import Shell

TAXI_PAINT = (0.62, 0.40, 0.03)
CAR, TRUCK_ID, BUS_ID = 13, 14, 15  # Cityscapes' train ids


@dataclass(frozen=True, kw_only=True)
class Model:
    """One kind of vehicle."""

    category: str  # nuScenes' name
    label: int
    shell: Shell
    height_m: float
    belt_m: float
    head_m: float  # heights of lamps and rear plate
    tail_m: float
    tail_half_m: float
    plate_m: float
    mirror_m: tuple[float, float]  # x and height
    rear_pane_m: tuple[float, float, float] | None = None  # lower and upper edge, half width


def _car(
    shell: Shell, rear_pane_m: tuple[float, float, float] | None = None, **changes: float
) -> Model:
    belt = shell.belt_line[-1][1]
    half = shell.length_m / 2
    heights = {"head_m": belt - 0.24, "tail_m": belt - 0.10, "plate_m": belt - 0.22,
               "tail_half_m": 0.075}  # fmt: skip
    return Model(
        category="vehicle.car", label=CAR, shell=shell, height_m=shell.height_m, belt_m=belt,
        mirror_m=(0.42 * half, belt + 0.06), rear_pane_m=rear_pane_m, **{**heights, **changes},
    )  # fmt: skip


SALOON = _car(
    Shell(
        length_m=4.65, width_m=1.82, floor_m=0.20, wheel_m=0.325, axles_m=(-1.38, 1.42),
        roof_line=((-1.0, 0.72), (-0.985, 0.93), (-0.93, 1.02), (-0.66, 1.07), (-0.32, 1.38),
                   (-0.10, 1.43), (0.10, 1.42), (0.20, 1.38), (0.50, 1.00), (0.72, 0.92),
                   (0.90, 0.80), (0.975, 0.70), (1.0, 0.56)),
        belt_line=((-1.0, 0.95), (-0.7, 0.99), (0.45, 0.92), (1.0, 0.88)),
        screens=((-0.66, -0.32), (0.20, 0.50)),
        pillars=((-1.0, -0.52), (-0.09, -0.04), (0.44, 1.0)),
    )
)  # fmt: skip
HATCH = _car(
    Shell(
        length_m=4.10, width_m=1.76, floor_m=0.19, wheel_m=0.31, axles_m=(-1.26, 1.28),
        roof_line=((-1.0, 0.75), (-0.985, 0.96), (-0.95, 1.04), (-0.78, 1.38), (-0.55, 1.46),
                   (0.0, 1.49), (0.16, 1.45), (0.50, 1.02), (0.75, 0.92), (0.90, 0.80),
                   (0.975, 0.70), (1.0, 0.56)),
        belt_line=((-1.0, 1.00), (0.45, 0.94), (1.0, 0.90)),
        screens=((-0.95, -0.78), (0.16, 0.50)),
        pillars=((-1.0, -0.66), (-0.12, -0.06), (0.44, 1.0)),
    )
)  # fmt: skip
ESTATE = _car(
    Shell(
        length_m=4.75, width_m=1.83, floor_m=0.20, wheel_m=0.325, axles_m=(-1.40, 1.42),
        roof_line=((-1.0, 0.78), (-0.99, 0.98), (-0.965, 1.05), (-0.84, 1.40), (-0.60, 1.47),
                   (0.0, 1.48), (0.14, 1.45), (0.46, 1.02), (0.72, 0.93), (0.90, 0.81),
                   (0.975, 0.70), (1.0, 0.56)),
        belt_line=((-1.0, 1.00), (0.45, 0.94), (1.0, 0.90)),
        screens=((-0.965, -0.84), (0.14, 0.46)),
        pillars=((-1.0, -0.86), (-0.44, -0.39), (-0.08, -0.03), (0.40, 1.0)),
    )
)  # fmt: skip
SUV = _car(
    Shell(
        length_m=4.70, width_m=1.90, floor_m=0.27, wheel_m=0.375, axles_m=(-1.36, 1.42),
        roof_line=((-1.0, 0.95), (-0.985, 1.12), (-0.96, 1.18), (-0.84, 1.62), (-0.60, 1.70),
                   (0.0, 1.71), (0.16, 1.67), (0.46, 1.18), (0.70, 1.10), (0.90, 1.02),
                   (0.975, 0.90), (1.0, 0.70)),
        belt_line=((-1.0, 1.16), (0.45, 1.08), (1.0, 1.04)),
        screens=((-0.96, -0.84), (0.16, 0.46)),
        pillars=((-1.0, -0.82), (-0.48, -0.43), (-0.08, -0.03), (0.40, 1.0)),
        nose=0.12, tail=0.07,
    )
)  # fmt: skip
PICKUP = _car(
    Shell(
        length_m=5.50, width_m=1.98, floor_m=0.36, wheel_m=0.39, axles_m=(-1.65, 1.80),
        roof_line=((-1.0, 0.98), (-0.99, 1.10), (-0.27, 1.13), (-0.22, 1.60), (-0.15, 1.78),
                   (0.12, 1.80), (0.18, 1.76), (0.38, 1.22), (0.70, 1.16), (0.92, 1.08),
                   (0.98, 0.95), (1.0, 0.75)),
        belt_line=((-1.0, 1.12), (1.0, 1.10)),
        screens=((-0.27, -0.20), (0.18, 0.38)),
        pillars=((-1.0, -0.17), (0.0, 0.04), (0.34, 1.0)),
        nose=0.10, tail=0.03,
    )
)  # fmt: skip
VAN = _car(
    Shell(
        length_m=5.40, width_m=2.02, floor_m=0.25, wheel_m=0.34, axles_m=(-1.65, 1.75),
        roof_line=((-1.0, 1.20), (-0.995, 1.95), (-0.96, 2.25), (0.30, 2.32), (0.42, 2.22),
                   (0.70, 1.28), (0.90, 1.05), (0.975, 0.85), (1.0, 0.62)),
        belt_line=((-1.0, 1.22), (0.6, 1.18), (1.0, 1.0)),
        screens=((0.42, 0.70),),
        pillars=((-1.0, 0.26), (0.62, 1.0)),
        tumble=0.12, nose=0.12, tail=0.03,
    ),
    rear_pane_m=(1.32, 1.88, 0.72), tail_m=1.15, tail_half_m=0.22, plate_m=0.75, head_m=0.80,
)  # fmt: skip
_BUS_PILLARS = tuple((k * 0.235 - 1.0, k * 0.235 - 0.985) for k in range(1, 9))
BUS = Model(
    category="vehicle.bus.rigid", label=BUS_ID, height_m=3.1, belt_m=1.25, head_m=0.72, tail_m=1.0,
    tail_half_m=0.20, plate_m=0.75, mirror_m=(5.7, 2.2), rear_pane_m=(1.5, 2.6, 0.95),
    shell=Shell(
        length_m=11.6, width_m=2.50, floor_m=0.32, wheel_m=0.48, axles_m=(-2.9, 3.1),
        roof_line=((-1.0, 2.70), (-0.995, 2.95), (-0.97, 3.08), (0.96, 3.08), (0.985, 2.85),
                   (0.998, 1.30), (1.0, 1.05)),
        belt_line=((-1.0, 1.32), (0.9, 1.22), (1.0, 1.02)),
        screens=((0.985, 0.998),), pillars=((-1.0, -0.94), *_BUS_PILLARS, (0.97, 1.0)),
        tumble=0.03, nose=0.05, tail=0.02,
    ),
)  # fmt: skip
TRUCK_LOAD_M = (0.98, 3.45, 1.95, -3.75, 1.24)  # floor, roof, front, rear, half width of the box
TRUCK = Model(
    category="vehicle.truck", label=TRUCK_ID, height_m=3.45, belt_m=1.45, head_m=0.78, tail_m=0.85,
    tail_half_m=0.09, plate_m=0.62, mirror_m=(3.45, 1.95),
    shell=Shell(
        length_m=7.6, width_m=2.30, floor_m=0.45, wheel_m=0.47, axles_m=(-2.35, 2.75),
        roof_line=((-1.0, 0.86), (0.535, 0.95), (0.54, 2.2), (0.58, 2.55), (0.85, 2.62),
                   (0.93, 2.42), (0.985, 1.50), (1.0, 1.05)),
        belt_line=((-1.0, 0.80), (0.53, 0.85), (0.54, 1.45), (1.0, 1.40)),
        screens=((0.93, 0.985),), pillars=((-1.0, 0.64), (0.95, 1.0)),
        tumble=0.05, nose=0.06, tail=0.0,
    ),
)  # fmt: skip
CARS = (SALOON, SALOON, HATCH, HATCH, ESTATE, SUV, SUV, PICKUP)
