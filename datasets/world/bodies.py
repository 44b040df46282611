"""The looks of vehicles, plants and street furniture."""

import numpy as np

from datasets.world.look import Look
from datasets.world.noise import band, cell_random, fractal, pulse, smoothstep
from datasets.world.points import Points
from datasets.world.vehicles import WHEEL_PLACE

_FOLIAGE = ((0.9, 0.35), (0.33, 0.45), (0.13, 0.50), (0.05, 0.35))
_BARK = ((0.3, 0.3), (0.1, 0.3), (0.03, 0.3))
_CLEAR_COAT = 0.05


def bodywork_look(points: Points) -> Look:
    """Paint with wheel arches, door seams, lamps at both ends and number plates."""
    x, y, z = points.local_m
    half_x, _half_y, half_z = points.half_m
    wide, high = points.width_m(0), points.width_m(2)
    flank = np.abs(points.normal_local[1]) > 0.6
    ends = np.abs(points.normal_local[0]) > 0.6
    low = half_z > 0.12  # lower body or shoulder, not the roof plate
    seam = pulse(x / 1.05 + 0.36, 0, 0.022, wide / 1.05) * (np.abs(x) < 0.5 * half_x)
    arch = np.hypot(np.abs(x) - WHEEL_PLACE * half_x, z + half_z - 0.08)
    dark = band(arch, -1, 0.39, np.maximum(wide, high)) * (half_x > 1.2)
    skirt = band(z, -half_z, -half_z + 0.08, high) * (half_z > 0.18)
    shade = np.where(flank & low, 1 - 0.6 * seam, 1)
    shade = shade * np.where(flank & (half_z > 0.18), 1 - 0.93 * dark, 1)
    shade = shade * (1 - 0.7 * skirt)
    dust = 1 + 0.06 * fractal(x, y + z, wide, ((0.8, 0.5), (0.2, 0.5)), points.seed % 97)
    albedo = points.colour * shade * dust
    albedo = np.where(ends & low, _end_face(points, albedo, high), albedo)
    return Look(albedo, np.where(flank & (dark > 0.5), np.float32(0), np.float32(_CLEAR_COAT)))


def _end_face(points: Points, paint: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Front: pale lamps and a dark grille. Rear: red lamps. Both: a number plate."""
    _, y, z = points.local_m
    _, half_y, half_z = points.half_m
    wide = points.width_m(1)
    front = points.normal_local[0] > 0
    out = np.abs(y) / half_y
    dy, dz = wide / half_y, high / half_z
    sill = half_z > 0.18
    lamp = band(out, 0.62, 0.94, dy) * band(z / half_z, 0.25, 0.9, dz) * sill
    lamp_colour = np.where(
        front, np.array([[0.8], [0.8], [0.76]]), np.array([[0.42], [0.015], [0.012]])
    )
    grille = band(out, -1, 0.55, dy) * band(z / half_z, 0.1, 0.75, dz) * (front & sill)
    slats = 0.02 + 0.05 * pulse(z / 0.05, 0, 0.3, high / 0.05)
    plate = band(y, -0.26, 0.26, wide) * band(z / half_z, -0.45, -0.05, dz) * sill
    ink = pulse(y / 0.075 + 0.1, 0, 0.45, wide / 0.075) * band(z / half_z, -0.36, -0.14, dz)
    bumper = band(z / half_z, -1.0, -0.55, dz) * sill
    look = paint + (0.03 - paint) * bumper
    look = look + (lamp_colour - look) * lamp
    look = look + (slats - look) * grille
    return look + (0.62 * (1 - 0.85 * ink) - look) * plate


def glasshouse_look(points: Points) -> Look:
    """Windows between pillars of the body's colour."""
    x, y, z = points.local_m
    half_x, half_y, half_z = points.half_m
    high = points.width_m(2)
    flank = np.abs(points.normal_local[1]) > np.abs(points.normal_local[0])
    wide = np.where(flank, points.width_m(0), points.width_m(1))
    pillar_x = pulse(x / 1.05 + 0.36, 0, 0.075, wide / 1.05)
    out_x = np.abs(x) + 0.55 * (z + half_z)  # follows the lean of the screens
    corner_x = 1 - band(out_x, -1, half_x + 0.10, wide)
    corner_y = 1 - band(np.abs(y) + 0.25 * (z + half_z), -1, half_y - 0.02, wide)
    pillar = np.where(flank, np.maximum(pillar_x, corner_x), corner_y)
    rim = np.maximum(band(z, -half_z, -half_z + 0.035, high), band(z, half_z - 0.04, half_z, high))
    cover = np.maximum(pillar, rim)
    seats = 0.5 + fractal(x + y, z, wide, ((0.7, 0.5), (0.25, 0.4)), points.seed % 89)
    glass = 0.015 + 0.03 * np.clip(seats, 0, 1)
    albedo = glass + (points.colour * 0.9 - glass) * cover
    return Look(albedo, _CLEAR_COAT + 0.10 * (1 - cover))


def tyre_look(points: Points) -> Look:
    """Rubber about a rim with five spokes; local z is the axle."""
    x, y, _ = points.local_m
    radius = np.hypot(x, y) / points.half_m[0]
    width = points.pixel_m / points.half_m[0]
    face = np.abs(points.normal_local[2]) > 0.5
    spokes = 0.5 + 0.5 * np.cos(5 * np.arctan2(y, x) + points.seed)
    rim = band(radius, -1, 0.66, width) * face
    metal = 0.06 + 0.36 * np.maximum(
        smoothstep(0.35, 0.65, spokes), band(radius, 0.56, 0.66, width)
    )
    tone = 0.02 + (metal - 0.02) * rim
    return Look(np.repeat(tone[None].astype(np.float32), 3, 0), 0.04 * rim)


def cargo_look(points: Points) -> Look:
    """Ribbed panels with a coloured band; also garden walls."""
    u, v = points.local_m[0] + points.local_m[1], points.local_m[2]
    wide = np.maximum(points.width_m(0), points.width_m(1)) * 0.7
    high = points.width_m(2)
    rib = pulse(u / 0.6, 0, 0.06, wide / 0.6)
    stripe = band(v, -0.35, 0.25, high)
    dirt = fractal(u, v, np.maximum(wide, high), ((2.0, 0.2), (0.5, 0.15), (0.1, 0.12)), 91)
    albedo = points.colour + (points.accent - points.colour) * stripe
    return Look(albedo * (1 - 0.3 * rib) * (1 + dirt), np.full_like(u, 0.01))


def leaves_look(points: Points) -> Look:
    """Foliage of crowns: clumps of light and dark, leaf by leaf."""
    return Look(_foliage(points, points.local_m), np.zeros_like(points.pixel_m))


def hedge_look(points: Points) -> Look:
    """Foliage cut to a block."""
    return Look(_foliage(points, points.world_m), np.zeros_like(points.pixel_m))


def _foliage(points: Points, at: np.ndarray) -> np.ndarray:
    width = points.pixel_m
    face = np.abs(points.normal_local).argmax(axis=0)  # seen flat on, noise is not stretched
    u, v = np.where(face == 0, at[1], at[0]), np.where(face == 2, at[1], at[2])
    seed = points.seed % 61 + 3 * face
    clumps = fractal(u, v, width, _FOLIAGE, seed)
    leaf = cell_random(np.floor(u / 0.07 + 0.5 * np.floor(v / 0.07)), np.floor(v / 0.07), seed)
    leaf = np.clip(2 - width / 0.035, 0, 1) * (leaf - 0.5)
    clumps += 0.4 * leaf
    yellow = 0.7 * leaf
    tint = 1 + yellow * np.array([[1.0], [0.6], [0.2]], np.float32)
    return points.colour * tint * np.clip(1.0 + 0.85 * clumps, 0.10, 2.6)


def bark_look(points: Points) -> Look:
    """Furrowed bark: noise stretched along the trunk."""
    x, y, z = points.local_m
    around = np.arctan2(y, x) * points.half_m[0] * 2.5
    furrows = fractal(around * 2.0, z * 0.5, points.pixel_m, _BARK, points.seed % 61)
    return Look(points.colour * np.maximum(1 + furrows, 0.2), np.zeros_like(x))


def metal_look(points: Points) -> Look:
    """Painted metal with a few stains."""
    x, y, z = points.local_m
    stains = fractal(x + y, z, points.pixel_m, ((1.0, 0.15), (0.2, 0.12), (0.05, 0.1)), 7)
    return Look(points.colour * (1 + stains), np.full_like(x, 0.03))


def sign_look(points: Points) -> Look:
    """A plate with a white border and a white figure; its back is grey."""
    _, y, z = points.local_m
    wide = np.maximum(points.width_m(1), points.width_m(2))
    edge = np.maximum(np.abs(y), np.abs(z))
    figure = np.maximum(band(edge, 0.25, 0.29, wide), band(np.abs(y) - 0.5 * z, -1, 0.05, wide))
    white = figure * (edge < 0.3)
    face = points.colour + (0.7 - points.colour) * white
    return Look(np.where(points.normal_local[0] < -0.5, face, 0.25), np.full_like(y, 0.02))
