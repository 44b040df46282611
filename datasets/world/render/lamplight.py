"""Lamp light: inverse square, cone, cosine, shadow, and highlights on glossy surfaces.

Points are grouped into blocks of consecutive pixels, which are close together. The strongest lamps
of a block are computed for each of its points, with shadows; the light of the other lamps is
computed once, near the block's middle.
"""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.shapes.lamps import Lamps
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.shapes.raycast import Caster

BLOCK = 32  # points
FAINT_LUX = 0.03  # less is neglected
STRONG_SHARE = 0.10  # share of a block's light above which a lamp is computed for each point
STRONG_LUX = 0.15
MARGIN = 1.5  # points of a block may receive this much more than its samples
SHADOW_SHARE = 0.15  # share of a point's light above which a lamp casts a shadow
SHADOW_LUX = 0.2
HOUSING_M = 0.3  # a shadow ray ends this far before the lamp, outside its housing
LIFT_M = 0.02
PAIRS_AT_ONCE = 1024  # fits into the CPU cache
NEAREST_M2 = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Gloss:
    """Gloss of points (N,): Fresnel share at normal incidence, and GGX roughness."""

    share: np.ndarray
    roughness: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Pairs (P) of a block of points and a lamp that reaches it; a block's pairs are adjacent."""

    at: np.ndarray  # (P, 32) indices of the points
    lamp: np.ndarray  # (P,)
    first: np.ndarray  # (blocks,) where each block's pairs begin
    group: np.ndarray  # (P,) index of the block among those that have pairs


def illuminate(
    lamps: Lamps,
    caster: Caster,
    points: Points,
    row: np.ndarray,
    gloss: Gloss | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Illuminance (3, N), lux, of points on solids of rows (N,), and highlights (3, N), cd/m2."""
    num = points.world_m.shape[1]
    light, shine = np.zeros((3, num), np.float32), np.zeros((3, num), np.float32)
    if not len(lamps) or not num:
        return light, shine
    pairs = _pairs(lamps, points, row, light)
    if not len(pairs.lamp):
        return light, shine
    parts = _parts(len(pairs.lamp))
    lux = np.concatenate([_lux(lamps, pairs.lamp[p], points, pairs.at[p]) for p in parts])
    _darken(lux, lamps, caster, points, pairs)
    _gather(light, pairs, lux, lamps)
    if gloss is not None:
        _gather(shine, pairs, _highlights(lamps, points, pairs, lux, gloss), lamps)
    return light, shine


def _parts(num: int, times: int = 1) -> list[slice]:
    size = times * PAIRS_AT_ONCE
    return [slice(k, k + size) for k in range(0, max(num, 1), size)]


def _pairs(lamps: Lamps, points: Points, row: np.ndarray, light: np.ndarray) -> _Pairs:
    """Pair blocks with their strong lamps; add the light of the other lamps to `light`."""
    num = len(row)
    order = np.argsort((row & 0xFFFF).astype(np.uint16), kind="stable")  # groups points by solid
    at = order[np.minimum(np.arange(-(-num // BLOCK) * BLOCK), num - 1)].reshape(-1, BLOCK)
    block, lamp, wide = _reached(lamps, points.world_m[:, at])
    given = np.empty(len(block), np.float32)
    most = np.empty(len(block), np.float32)
    for index, some in ((np.flatnonzero(~wide), (16,)), (np.flatnonzero(wide), (3, 12, 20, 29))):
        sampled = at[block[index]][:, some]  # (p, 1 or 4)
        lux = np.concatenate(
            [_lux(lamps, lamp[index[p]], points, sampled[p]) for p in _parts(len(index), 8)]
        )
        given[index], most[index] = lux.mean(1), MARGIN * lux.max(1)
    total = np.bincount(block, given, len(at))
    strong = most > np.maximum(STRONG_SHARE * total, STRONG_LUX)[block]
    for channel in range(3):
        rest = np.where(strong, 0, given * lamps.colour[lamp, channel])
        light[channel, at] = np.bincount(block, rest, len(at))[:, None]
    block, lamp = block[strong], lamp[strong]
    begins = np.diff(block, prepend=-1) > 0
    return _Pairs(
        at=at[block], lamp=lamp, first=np.flatnonzero(begins), group=np.cumsum(begins) - 1
    )


def _reached(lamps: Lamps, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair blocks (3, B, 32) with lamps that may reach them; flag those that look wide to it."""
    centre = xyz.mean(axis=2)  # (3, B)
    offset = xyz - centre[..., None]
    radius = np.sqrt(_dot(offset, offset).max(1))  # (B,)
    away = centre[:, :, None] - lamps.place_m.T[:, None, :]  # (3, B, L)
    distance = np.sqrt(_dot(away, away))
    near = np.maximum(distance - radius[:, None], 0.3)
    block, lamp = np.nonzero(lamps.intensity_cd > FAINT_LUX * near * near)
    return block, lamp, radius[block] > 0.06 * distance[block, lamp]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _towards(
    lamps: Lamps, lamp: np.ndarray, points: Points, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (3, P, 32) from points towards their lamp, and squared distances (P, 32)."""
    towards = lamps.place_m[lamp].T[:, :, None] - points.world_m[:, at]
    square = np.maximum(_dot(towards, towards), NEAREST_M2)
    towards *= 1 / np.sqrt(square)
    return towards, square


def _lux(lamps: Lamps, lamp: np.ndarray, points: Points, at: np.ndarray) -> np.ndarray:
    towards, square = _towards(lamps, lamp, points, at)
    facing = np.maximum(_dot(towards, points.normal[:, at]), 0)
    return lamps.intensity_towards(lamp[:, None], -towards) * facing / square


def _darken(lux: np.ndarray, lamps: Lamps, caster: Caster, points: Points, pairs: _Pairs) -> None:
    """Remove the light (P, 32) of lamps that are hidden; faint lamps cast no shadow."""
    total = np.add.reduceat(lux, pairs.first)  # (blocks, 32)
    pair, column = np.nonzero(lux > np.maximum(SHADOW_SHARE * total, SHADOW_LUX)[pairs.group])
    at = pairs.at[pair, column]
    start = points.world_m[:, at] + LIFT_M * points.normal[:, at]
    way = lamps.place_m[pairs.lamp[pair]].T - start
    reach = np.maximum(1 - HOUSING_M / np.sqrt(_dot(way, way)), 0.0)
    lux[pair, column] *= ~caster.blocked(start, way, reach)


def _highlights(
    lamps: Lamps, points: Points, pairs: _Pairs, lux: np.ndarray, gloss: Gloss
) -> np.ndarray:
    """Specular luminance (P, 32): GGX (Walter et al. 2007), Schlick's Fresnel, Smith shadowing."""
    found = np.zeros(lux.shape, np.float32)
    pair, column = np.nonzero(lux > FAINT_LUX)
    glossy = gloss.share[pairs.at[pair, column]] > 0
    pair, column = pair[glossy], column[glossy]
    for k in range(0, len(pair), PAIRS_AT_ONCE * BLOCK):
        p, c = pair[k : k + PAIRS_AT_ONCE * BLOCK], column[k : k + PAIRS_AT_ONCE * BLOCK]
        at, lamp = pairs.at[p, c][:, None], pairs.lamp[p]
        towards, square = _towards(lamps, lamp, points, at)
        bulb = lamps.radius_m[lamp, None] ** 2 / (4 * square)  # a lamp has a size
        lobe = _lobe(towards, points.ray[:, at], points.normal[:, at], gloss, at, bulb)
        found[p, c] = lux[p, c] * lobe[:, 0]
    return found


def _lobe(
    towards: np.ndarray,
    ray: np.ndarray,
    normal: np.ndarray,
    gloss: Gloss,
    at: np.ndarray,
    bulb: np.ndarray,
) -> np.ndarray:
    """Luminance per lux; unit vectors (3, ...) towards the lamp and of the incoming ray."""
    half = towards - ray
    half *= 1 / np.sqrt(np.maximum(_dot(half, half), 1e-9))
    cos_h, cos_lh = np.clip(_dot(half, normal), 0, 1), np.clip(_dot(half, towards), 0, 1)
    cos_v, cos_l = np.maximum(-_dot(ray, normal), 0.01), np.maximum(_dot(towards, normal), 0.01)
    a2 = gloss.roughness[at] ** 4 + bulb
    spread = cos_h * cos_h * (a2 - 1) + 1
    share = gloss.share[at]
    fresnel = share + (1 - share) * (1 - cos_lh) ** 5
    a = np.sqrt(a2)
    smith = 0.5 / (cos_l * (cos_v * (1 - a) + a) + cos_v * (cos_l * (1 - a) + a))
    return a2 / (np.pi * spread * spread) * fresnel * smith


def _gather(into: np.ndarray, pairs: _Pairs, value: np.ndarray, lamps: Lamps) -> None:
    """Sum the pairs (P, 32) of each block, in colour, into (3, N)."""
    at = pairs.at[pairs.first]
    for channel in range(3):
        coloured = value * lamps.colour[pairs.lamp, channel, None]
        into[channel, at] += np.add.reduceat(coloured, pairs.first)
