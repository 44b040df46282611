"""People: bodies of rounded parts about their joints, in coloured clothes."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.objects.gait import Gait, Limb, posed, with_level_feet
from nightrain.datasets.world.shapes.mesh import Mesh, box, tube
from nightrain.datasets.world.shapes.solids import Shape, Solid, Solids, Surface, pack

PERSON, RIDER = 11, 12  # Cityscapes' train ids
Colour = tuple[float, float, float]

SKINS: tuple[Colour, ...] = ((0.50, 0.32, 0.23), (0.38, 0.22, 0.14), (0.12, 0.065, 0.04),
                             (0.55, 0.38, 0.29), (0.22, 0.12, 0.075))  # fmt: skip
HAIRS: tuple[Colour, ...] = ((0.015, 0.012, 0.01), (0.06, 0.035, 0.02), (0.25, 0.17, 0.08),
                             (0.3, 0.3, 0.3), (0.03, 0.03, 0.05))  # fmt: skip
TOPS: tuple[Colour, ...] = (
    (0.03, 0.03, 0.035), (0.05, 0.07, 0.13), (0.55, 0.54, 0.52), (0.35, 0.04, 0.04),
    (0.08, 0.14, 0.07), (0.30, 0.25, 0.16), (0.16, 0.17, 0.18), (0.50, 0.36, 0.06),
    (0.10, 0.20, 0.34), (0.36, 0.12, 0.20),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((0.03, 0.035, 0.05), (0.05, 0.08, 0.16), (0.025, 0.025, 0.025),
                                (0.24, 0.20, 0.14), (0.14, 0.14, 0.15))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Body at rest, built about its joints, and its limbs."""

    height_m: float
    solids: Solids
    limbs: tuple[Limb, ...]

    @property
    def sole_m(self) -> float:
        """Height of the ankle above the sole, metres."""
        return 0.035 * self.height_m

    def gait(self, phase_rad: float) -> Gait:
        """Walking gait of this person."""
        return Gait(self.limbs, self.sole_m, 0.82 * self.height_m, phase_rad)

    def standing(self) -> Solids:
        """Standing pose: arms and legs hang down."""
        angles = {"thigh": 0.0, "shin": 0.03, "arm": 0.06, "forearm": -0.2}
        both = {(role, side): angle for role, angle in angles.items() for side in (1, -1)}
        return posed(self.solids, self.limbs, with_level_feet(self.limbs, both), self.sole_m)

    def riding(self) -> Solids:
        """Riding pose: hands forward, one knee up, hips at saddle height; not put on the ground."""
        angles = {
            ("thigh", 1): -1.35, ("thigh", -1): -0.75, ("shin", 1): 1.45, ("shin", -1): 0.75,
            ("arm", 1): -0.95, ("arm", -1): -0.95, ("forearm", 1): -0.35, ("forearm", -1): -0.35,
        }  # fmt: skip
        return posed(self.solids, self.limbs, with_level_feet(self.limbs, angles), None)


def draw_person(rng: np.random.Generator, *, child: bool = False, label: int = PERSON) -> Person:
    """Draw a person; z = 0 is the ground."""
    height = float(rng.uniform(1.05, 1.45) if child else rng.uniform(1.58, 1.88))
    broad = float(rng.uniform(0.9, 1.2))
    skin, hair, top, legs = (
        stock[int(rng.integers(len(stock)))] for stock in (SKINS, HAIRS, TOPS, TROUSERS)
    )
    shoe = (0.03, 0.03, 0.03) if rng.random() < 0.7 else (0.5, 0.5, 0.5)
    bare_legs, coat = rng.random() < 0.2, rng.random() < 0.25
    seed = int(rng.integers(256))
    accent = TOPS[int(rng.integers(len(TOPS)))]
    parts: list[Solid] = []

    def add(surface: Surface, mesh: Mesh, colour: Colour, pattern: int = 0) -> int:
        parts.append(
            Solid(shape=Shape.MESH, surface=surface, mesh=mesh, colour=colour, accent=accent,
                  seed=pattern, label=label, half_m=(0.3, 0.3, 0.3))
        )  # fmt: skip
        return len(parts) - 1

    h = height
    add(Surface.CLOTH, _torso(h, broad, coat), top, seed)
    add(Surface.CLOTH, _pipe(((0, 0, 0.54 * h), 0.09 * h * broad), ((0, 0, 0.47 * h), 0.088 * h)),
        top if coat else legs)  # fmt: skip
    add(Surface.SKIN, _head(h), skin)
    add(Surface.SKIN, _hair(h, long=bool(rng.random() < 0.4)), hair)
    if rng.random() < 0.35:
        add(Surface.CLOTH, box((-0.11 * h, 0, 0.68 * h), (0.05 * h, 0.08 * h, 0.12 * h)), accent)
    limbs: list[Limb] = []
    for side in (1, -1):
        thigh = add(Surface.CLOTH, _hang(0.245 * h, 0.052 * h * broad, 0.038 * h), legs)
        shin = add(
            Surface.SKIN if bare_legs else Surface.CLOTH, _hang(0.25 * h, 0.036 * h, 0.026 * h),
            skin if bare_legs else legs,
        )  # fmt: skip
        sole = box((0.035 * h, 0, -0.017 * h), (0.072 * h, 0.026 * h, 0.018 * h))
        foot = add(Surface.CLOTH, sole, shoe)
        arm = add(Surface.CLOTH, _hang(0.18 * h, 0.032 * h * broad, 0.026 * h), top, seed)
        fore = add(Surface.CLOTH, _hang(0.14 * h, 0.025 * h, 0.02 * h), top, seed)
        palm = _pipe(((0, 0, -0.14 * h), 0.02 * h), ((0, 0, -0.19 * h), 0.016 * h))
        hand = add(Surface.SKIN, palm, skin)
        k = len(limbs)
        limbs += [
            Limb((thigh,), (0.0, side * 0.052 * h, 0.53 * h), -1, "thigh", side),
            Limb((shin,), (0.0, 0.0, -0.245 * h), k, "shin", side),
            Limb((foot,), (0.0, 0.0, -0.25 * h), k + 1, "foot", side),
            Limb((arm,), (0.0, side * 0.115 * h * broad, 0.80 * h), -1, "arm", side),
            Limb((fore, hand), (0.0, 0.0, -0.18 * h), k + 3, "forearm", side),
        ]
    return Person(height_m=height, solids=pack(parts), limbs=tuple(limbs))


def _torso(h: float, broad: float, coat: bool) -> Mesh:
    levels = [(0.44 if coat else 0.52, 0.088), (0.60, 0.080), (0.72, 0.095), (0.80, 0.092),
              (0.835, 0.055), (0.87, 0.035)]  # fmt: skip
    axis = np.array([(0, 0, z * h) for z, _ in levels])
    mesh = tube(axis, np.array([r * h for _, r in levels]), 8)
    return Mesh(mesh.vertices_m * [0.78, 1.18 * broad, 1.0], mesh.faces)


def _head(h: float) -> Mesh:
    levels = ((0.87, 0.028), (0.89, 0.042), (0.93, 0.053), (0.965, 0.048), (0.995, 0.02))
    axis = np.array([(0.012 * h, 0, z * h) for z, _ in levels])
    return tube(axis, np.array([r * h for _, r in levels]), 8)


def _hair(h: float, *, long: bool) -> Mesh:
    levels = [(0.86 if long else 0.915, 0.044), (0.95, 0.056), (0.985, 0.042), (1.0, 0.015)]
    axis = np.array([(-0.010 * h, 0, z * h) for z, _ in levels])
    return tube(axis, np.array([r * h for _, r in levels]), 8)


def _hang(length_m: float, top_m: float, low_m: float) -> Mesh:
    """Limb that hangs down from its joint."""
    axis = np.array([(0, 0, 0.02), (0, 0, -0.45 * length_m), (0, 0, -length_m - 0.015)])
    return tube(axis, np.array([top_m, 0.92 * top_m, low_m]), 6)


def _pipe(*rings: tuple[tuple[float, float, float], float]) -> Mesh:
    return tube(np.array([at for at, _ in rings]), np.array([r for _, r in rings]), 6)
