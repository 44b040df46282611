"""Trees, bushes and hedges: trunks and branches as pipes, leaves as clusters of rhombs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from nightrain.datasets.world.shapes.mesh import Mesh, cards, join_meshes, moved_mesh, tube
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface

Place = tuple[float, float, float]  # foot of a plant, world metres

LEAVES = ((0.055, 0.11, 0.022), (0.085, 0.135, 0.025), (0.04, 0.085, 0.022), (0.11, 0.13, 0.03))
AUTUMN = ((0.30, 0.17, 0.03), (0.26, 0.10, 0.03), (0.16, 0.13, 0.03))
BARK = (0.10, 0.078, 0.058)
DETAIL_M = 65.0
NUM_PROTOTYPES = 5  # per kind, the same in all scenes; rotated and stretched for variety


@dataclass(frozen=True, slots=True)
class Kind:
    """Habit of a tree of height 1: foot and half width of its crown, rise of its branches."""

    foot: float
    width: float
    rise: float  # 0 level, 1 upwards
    num_branches: int
    leafy: float  # share of the full number of leaves
    taper: float = 0.0  # 1: a cone


ROUND = Kind(foot=0.30, width=0.33, rise=0.55, num_branches=9, leafy=1.0)
BROAD = Kind(foot=0.26, width=0.42, rise=0.35, num_branches=11, leafy=1.1)
TALL = Kind(foot=0.18, width=0.16, rise=0.85, num_branches=10, leafy=0.8)
FIR = Kind(foot=0.10, width=0.20, rise=-0.15, num_branches=26, leafy=1.0, taper=1.0)
BARE = Kind(foot=0.28, width=0.34, rise=0.6, num_branches=14, leafy=0.0)
KINDS = (ROUND, BROAD, TALL, FIR, BARE)
_SHARES = (0.40, 0.26, 0.12, 0.12, 0.10)


@dataclass(frozen=True, slots=True)
class Prototype:
    """Tree of height 1 with leaves for a crown of a few metres."""

    wood: Mesh
    leaves: Mesh | None


class Grove:
    """Vegetation of one scene: kinds of street trees and colours of leaves."""

    def __init__(self, rng: np.random.Generator, autumn: bool, drive_m: np.ndarray) -> None:
        self._drive_m = drive_m  # (K, 2) positions of the ego vehicle
        first = int(rng.integers(len(KINDS) - 1))
        self.avenue_kind = KINDS[min(first, 2)]  # trees planted in a row
        self._leaves = LEAVES + AUTUMN if autumn else LEAVES

    def _is_near(self, foot_m: Place) -> bool:
        """Whether the ego vehicle comes close enough to see individual leaves."""
        gap = self._drive_m - foot_m[:2]
        return bool((gap * gap).sum(1).min() < DETAIL_M**2)

    def tree(
        self, rng: np.random.Generator, foot_m: Place, *, near: bool, avenue: bool = False
    ) -> Iterator[Solid]:
        """Tree at a position; one far from the road has fewer and larger leaves."""
        kind = self.avenue_kind if avenue else KINDS[int(rng.choice(len(KINDS), p=_SHARES))]
        height = float(rng.uniform(6.5, 13.0)) * (0.8 if avenue else 1.0)
        near = near and self._is_near(foot_m)
        prototype = _grow(kind, int(rng.integers(NUM_PROTOTYPES)), near)
        wide = height * float(rng.uniform(0.85, 1.2))
        R = np.diag([wide, wide, height])
        yaw, seed = float(rng.uniform(0, 2 * np.pi)), int(rng.integers(256))
        leaf = self._leaves[int(rng.integers(len(self._leaves)))]
        half = (kind.width * wide, kind.width * wide, height / 2)
        zero = np.zeros(3)
        yield Solid(
            shape=Shape.MESH, surface=Surface.BARK, centre_m=foot_m, yaw_rad=yaw, colour=BARK,
            seed=seed, half_m=(0.15, 0.15, height / 2), mesh=moved_mesh(prototype.wood, R, zero),
        )  # fmt: skip
        if prototype.leaves is not None:
            yield Solid(
                shape=Shape.MESH, surface=Surface.LEAVES, centre_m=foot_m, yaw_rad=yaw,
                colour=leaf, seed=seed, half_m=half, mesh=moved_mesh(prototype.leaves, R, zero),
            )  # fmt: skip

    def bush(self, rng: np.random.Generator, foot_m: Place) -> Iterator[Solid]:
        """Low bush of leaves about a dark core."""
        half = np.array([0.0, 0.0, float(rng.uniform(0.35, 0.8))])
        half[:2] = half[2] * rng.uniform(1.0, 1.5, 2)
        leaf = self._leaves[int(rng.integers(4))]
        share = 1.0 if self._is_near(foot_m) else 0.3
        points = _in_ball(rng, round(220 * share), 0.75) * half + [0, 0, 0.85 * half[2]]
        yield _foliage(
            _leaves(rng, points, 0.10 / share**0.5), foot_m, leaf, tuple(1.1 * half), rng
        )
        heart = tuple((0.72 * half).tolist())
        x, y, z = foot_m
        dark = (0.35 * leaf[0], 0.35 * leaf[1], 0.35 * leaf[2])
        yield Solid(
            shape=Shape.ELLIPSOID, surface=Surface.LEAVES, colour=dark, half_m=heart,
            centre_m=(x, y, z + 0.8 * float(half[2])),
        )  # fmt: skip

    def hedge(
        self, rng: np.random.Generator, foot_m: Place, yaw_rad: float, half_m: Place
    ) -> Iterator[Solid]:
        """Trimmed hedge: leaves over the faces of a dark block."""
        leaf = self._leaves[int(rng.integers(4))]
        a, b, c = half_m
        x, y, z = foot_m
        core = (a - 0.07, b - 0.07, c - 0.04)
        dark = (0.4 * leaf[0], 0.4 * leaf[1], 0.4 * leaf[2])
        yield Solid(
            shape=Shape.BLOCK, surface=Surface.HEDGE, half_m=core, colour=dark,
            centre_m=(x, y, z + core[2]), yaw_rad=yaw_rad,
        )  # fmt: skip
        half = np.array(half_m)
        share = 1.0 if self._is_near(foot_m) else 0.25
        count = int(share * np.clip(50 * (4 * c * (a + b) + 4 * a * b), 60, 1300))
        on = rng.uniform(-1, 1, (count, 3))
        axis = rng.choice(3, count, p=np.array([b * c, a * c, a * b]) / (b * c + a * c + a * b))
        on[np.arange(count), axis] = np.sign(on[np.arange(count), axis] + 1e-9)
        on[:, 2] = np.where((axis == 2) & (on[:, 2] < 0), 1.0, on[:, 2])
        points = on * half + rng.normal(0, 0.03, (count, 3)) + [0, 0, c]
        leaves = _leaves(rng, points, 0.085 / share**0.5)
        yield _foliage(leaves, foot_m, leaf, (a, b, 2 * c), rng, yaw_rad)


@cache
def _grow(kind: Kind, number: int, near: bool) -> Prototype:
    """Grow a tree of height 1: a trunk, branches, twigs, and clusters of leaves at their ends."""
    rng = np.random.default_rng([20_117, KINDS.index(kind), number])
    bend = rng.normal(0, 0.012, (5, 2)).cumsum(0)
    level = np.linspace(0, 0.9, 5)
    trunk = np.column_stack([bend - bend[0], level])
    wood = [tube(trunk, np.array([0.024, 0.019, 0.015, 0.010, 0.003]), 7)]
    ends = []
    starts = kind.foot + (0.88 - kind.foot) * np.sort(rng.random(kind.num_branches))
    turn = rng.uniform(0, 2 * np.pi)
    for k, start in enumerate(starts):
        share = (start - kind.foot) / (0.9 - kind.foot)
        reach = kind.width * (1 - share) if kind.taper else kind.width * (1 - 0.55 * share)
        branch = _branch(rng, trunk, start, turn + 2.4 * k, reach, kind.rise)
        wood.append(tube(branch, np.array([0.010, 0.008, 0.005, 0.002]), 4))
        ends += [branch[2], branch[3]]
        for _ in range(3 if kind is BARE else 2):
            twig = _twig(rng, branch, reach)
            wood.append(tube(twig, np.array([0.0045, 0.003, 0.0012]), 3))
            ends.append(twig[-1])
            if kind is BARE:
                spray = _twig(rng, np.concatenate([twig[:1], twig]), 0.8 * reach)
                wood.append(tube(spray, np.array([0.003, 0.002, 0.001]), 3))
    if not kind.leafy:
        return Prototype(join_meshes(wood), None)
    heart = np.array([0, 0, kind.foot + 0.45 * (1 - kind.foot)])
    ends += [heart + rng.normal(0, 0.6 * kind.width, 3) * [1, 1, 0.8] for _ in range(8)]
    return Prototype(join_meshes(wood), _crown(rng, np.array(ends), kind, near))


def _branch(
    rng: np.random.Generator, trunk: np.ndarray, start: float, turn: float, reach: float,
    rise: float,
) -> np.ndarray:  # fmt: skip
    """Points (4, 3) of a branch that leaves the trunk at a height and bends upwards."""
    foot = np.array([*(np.interp(start, trunk[:, 2], trunk[:, k]) for k in (0, 1)), start])
    out = np.array([np.cos(turn), np.sin(turn), 0.0])
    along = np.linspace(0, 1, 4)[:, None]
    lift = rise * reach * along**1.4 + rng.normal(0, 0.02, (4, 1)) * along
    points = foot + reach * 0.85 * along * out + lift * [0.0, 0.0, 1.0]
    points[:, 2] = np.minimum(points[:, 2], 0.99)
    return points + rng.normal(0, 0.012, (4, 3)) * along


def _twig(rng: np.random.Generator, branch: np.ndarray, reach: float) -> np.ndarray:
    at = branch[1] + (branch[-1] - branch[1]) * rng.random()
    way = np.add(rng.normal(0, 1, 3), [0, 0, 0.5])
    way *= 0.5 * reach / np.linalg.norm(way)
    return at + np.linspace(0, 1, 3)[:, None] * way


def _crown(rng: np.random.Generator, ends: np.ndarray, kind: Kind, near: bool) -> Mesh:
    """Rhombs about the ends (E, 3) of branches; far trees have a quarter, twice as wide."""
    count = round((1500 if near else 350) * kind.leafy)
    spread = 0.30 * kind.width + 0.02
    which = rng.integers(len(ends), size=count)
    points = ends[which] + _in_ball(rng, count, 0.4) * spread
    points[:, 2] = np.clip(points[:, 2], kind.foot - 0.06, 1.0)
    return _leaves(rng, points, 0.0195 if near else 0.042)


def _in_ball(rng: np.random.Generator, count: int, hollow: float) -> np.ndarray:
    """Random points (N, 3) in a unit ball, at least `hollow` from its centre."""
    way = rng.normal(0, 1, (count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return way * (hollow + (1 - hollow) * rng.random((count, 1)) ** 0.5)


def _leaves(rng: np.random.Generator, points: np.ndarray, size: float) -> Mesh:
    """Rhombs at points (N, 3), of half length about `size`, mostly lying flat."""
    count = len(points)
    along = rng.normal(0, 1, (count, 3)) * [1, 1, 0.55]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, np.add(rng.normal(0, 1, (count, 3)), [0, 0, 0.6]))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    length = size * rng.uniform(0.6, 1.4, (count, 1))
    return cards(points, 0.62 * length * across, length * along)


def _foliage(
    mesh: Mesh,
    foot_m: Place,
    colour: Place,
    half_m: tuple[float, ...],
    rng: np.random.Generator,
    yaw_rad: float = 0.0,
) -> Solid:
    a, b, c = (float(v) for v in half_m)
    return Solid(
        shape=Shape.MESH, surface=Surface.LEAVES, centre_m=foot_m, colour=colour, mesh=mesh,
        half_m=(a, b, c), yaw_rad=yaw_rad, seed=int(rng.integers(256)),
    )  # fmt: skip
