"""Vehicle body surface: rings of points along it, from a side view and a plan."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from nightrain.datasets.world.shapes.mesh import Mesh

# Half ring from the sill to the middle of the roof: share of the half width, and height on a scale
# with the sill at 0, the belt line at 1 and the roof at 2.
_RING = (
    (0.84, 0.0), (0.975, 0.14), (1.0, 0.45), (0.985, 0.84), (0.945, 1.0),
    (0.97, 1.5), (0.93, 1.86), (0.72, 1.98), (0.0, 2.0),
)  # fmt: skip
_BELT, _SHOULDER, _EDGE = 4, 6, 7  # points of the ring: windows go from the belt to the shoulder
_MIN_PANE_M = 0.16


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Dimensions of a body in metres; its side view runs from the rear to the front."""

    length_m: float
    width_m: float
    floor_m: float
    wheel_m: float  # radius
    axles_m: tuple[float, ...]  # x of the axles
    roof_line: tuple[tuple[float, float], ...]  # (share of the half length, height), x rising
    belt_line: tuple[tuple[float, float], ...]
    screens: tuple[tuple[float, float], ...]  # (from, to): windscreen and rear window
    pillars: tuple[tuple[float, float], ...]  # (from, to): no side window
    tumble: float = 0.25  # inward lean of the sides above the belt, metres per metre
    nose: float = 0.16  # share of the half width lost at the very front
    tail: float = 0.10

    @property
    def height_m(self) -> float:
        """Height of the roof above the ground."""
        return max(z for _, z in self.roof_line) + 0.02


@cache
def skin(shell: Shell) -> tuple[Mesh, Mesh]:
    """Painted panels and window panes of a body."""
    share = _stations(shell)
    rings = _rings(shell, share)  # (K, M, 3)
    num, sides = rings.shape[:2]
    glass = _is_glass(shell, share, rings)  # (K - 1, M)
    a = (np.arange(num - 1)[:, None] * sides + np.arange(sides)).ravel()
    b = (np.arange(num - 1)[:, None] * sides + (np.arange(sides) + 1) % sides).ravel()
    first, second = np.stack([a, b, b + sides], 1), np.stack([a, b + sides, a + sides], 1)
    points = rings.reshape(-1, 3)
    pane = glass.ravel()
    ends = [_cap(k * sides, sides) for k in (0, num - 1)]
    paint = np.concatenate([first[~pane], second[~pane], *ends])
    panes = np.concatenate([first[pane], second[pane]])
    return Mesh(points, paint), Mesh(points, panes)


def _cap(start: int, sides: int) -> np.ndarray:
    """Triangles of the ladder between the right and the left half of one ring."""
    k = np.arange(sides // 2)
    a, b, c, d = k, k + 1, sides - 1 - k, sides - 2 - k
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)[:-1]])
    return start + faces


def _stations(shell: Shell) -> np.ndarray:
    """Positions of rings as shares of the half length (K,)."""
    half = shell.length_m / 2
    found = [s for s, _ in (*shell.roof_line, *shell.belt_line)]
    found += [s for pair in (*shell.screens, *shell.pillars) for s in pair]
    for x in shell.axles_m:
        found += [
            (x + u * 1.16 * shell.wheel_m) / half for u in (-1.0, -0.97, -0.7, 0, 0.7, 0.97, 1)
        ]
    found = np.unique(np.clip(np.round(found, 4), -1, 1))
    return found[np.concatenate([[True], np.diff(found) > 0.0015])]


def _rings(shell: Shell, share: np.ndarray) -> np.ndarray:
    """Points (K, 17, 3) of the rings: the right half from the sill up, then the left half down."""
    x = share * shell.length_m / 2
    roof = np.interp(share, *np.array(shell.roof_line).T)
    belt = np.minimum(np.interp(share, *np.array(shell.belt_line).T), roof - 0.005)
    sill = np.minimum(_sill_m(shell, x), belt - 0.10)
    half = shell.width_m / 2 * np.ones_like(x)
    half *= 1 - shell.nose * np.clip((share - 0.80) / 0.20, 0, 1) ** 2
    half *= 1 - shell.tail * np.clip((-share - 0.84) / 0.16, 0, 1) ** 2
    wide, level = np.array(_RING).T  # (9,)
    low = sill[:, None] + np.minimum(level, 1) * (belt - sill)[:, None]
    z = low + np.clip(level - 1, 0, 1) * (roof - belt)[:, None]  # (K, 9)
    lean = shell.tumble * np.clip(level - 1, 0, 1) * (roof - belt)[:, None]
    y = wide * half[:, None] - lean * (wide > 0)
    right = np.stack([np.repeat(x[:, None], len(wide), 1), -y, z], -1)
    left = right[:, -2::-1] * np.array([1.0, -1.0, 1.0])
    return np.concatenate([right, left], 1)


def _sill_m(shell: Shell, x: np.ndarray) -> np.ndarray:
    """Lower edge of the body (K,): level, with an arch over every wheel."""
    edge = np.full_like(x, shell.floor_m)
    radius = 1.16 * shell.wheel_m
    for axle in shell.axles_m:
        inside = np.clip(radius**2 - (x - axle) ** 2, 0, None)
        edge = np.maximum(edge, np.where(inside > 0, shell.wheel_m + np.sqrt(inside), 0))
    rise = np.clip((np.abs(x) / (shell.length_m / 2) - 0.86) / 0.14, 0, 1)
    return np.maximum(edge, shell.floor_m + 0.10 * rise)


def _is_glass(shell: Shell, share: np.ndarray, rings: np.ndarray) -> np.ndarray:
    """Mask (K - 1, M) bool of the quads between rings that are window panes."""
    middle = (share[1:] + share[:-1]) / 2
    sides = rings.shape[1]
    tall = rings[:, _SHOULDER, 2] - rings[:, _BELT, 2]
    open_ = np.maximum(tall[1:], tall[:-1]) > _MIN_PANE_M
    closed = np.any([(middle > a) & (middle < b) for a, b in shell.pillars], axis=0)
    screen = np.any([(middle > a) & (middle < b) for a, b in shell.screens], axis=0)
    glass = np.zeros((len(middle), sides), bool)
    for j in range(_BELT, _SHOULDER):
        glass[:, j] = glass[:, sides - 2 - j] = open_ & ~closed
    for j in (_EDGE, sides - 2 - _EDGE):
        glass[:, j] = screen
    return glass
