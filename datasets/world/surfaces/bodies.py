"""Vehicle materials: paint, windows, tyres, cargo, lamps, number plates."""

import numpy as np

from nightrain.datasets.world.shapes.noise import band, cell_random, fractal, pulse, smoothstep
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.surfaces.look import Look

_CLEAR_COAT = 0.05


def bodywork_look(points: Points) -> Look:
    """Clear-coated paint with door seams, handles and a dusty sill, at positions from `accent`."""
    x, y, z = points.local_m
    front, rear, belt = points.accent
    wide, high = points.width_m(0), points.width_m(2)
    flank = (np.abs(points.normal_local[1]) > 0.6) & (front > 0.6)
    inside = band(x, rear + 0.35, front - 0.42, wide) * band(z, 0.28, belt, high)
    seam = pulse((x - front + 0.42) / 1.12, 0, 0.016, wide / 1.12) * inside
    handle = pulse((x - front + 0.42) / 1.12, 0.06, 0.17, wide / 1.12) * inside
    handle = handle * band(z, belt - 0.17, belt - 0.13, high)
    crease = band(z, 0.72 * belt - 0.012, 0.72 * belt + 0.012, high)
    shade = 1 - flank * (0.75 * seam + 0.5 * handle + 0.12 * crease)
    dust = 1 + 0.06 * fractal(x, y + z, wide, ((0.8, 0.5), (0.2, 0.5)), points.seed % 97)
    dirt = 0.45 * smoothstep(0.55, 0.20, z) * (0.5 + 0.5 * (points.seed % 3))
    mud = np.array([[0.13], [0.115], [0.10]], np.float32)
    albedo = points.colour * (shade * dust)
    albedo = albedo + (mud - albedo) * (0.5 * dirt)
    return Look(albedo.astype(np.float32), np.full_like(x, _CLEAR_COAT))


def glasshouse_look(points: Points) -> Look:
    """Window panes with a dark rim, and the seats and heads behind them."""
    x, y, z = points.local_m
    wide = np.maximum(points.width_m(0), points.width_m(2))
    seats = 0.5 + fractal(x + y, z, wide, ((0.7, 0.5), (0.25, 0.4)), points.seed % 89)
    row = pulse((x + 0.3) / 0.95, 0.1, 0.5, wide / 0.95) * (z < points.half_m[2] * 1.62)
    tone = 0.012 + 0.025 * np.clip(seats, 0, 1) + 0.012 * row
    albedo = np.repeat(tone[None].astype(np.float32), 3, 0)
    return Look(albedo, np.full_like(x, _CLEAR_COAT + 0.07))


def lamp_look(level_cd_m2: float, points: Points) -> Look:
    """Lamp glass: a bright pattern by day; at night it emits `accent`."""
    y = points.local_m[1]
    fine = 0.75 + 0.25 * pulse(y / 0.05, 0, 0.5, points.pixel_m / 0.05)
    level = np.float32(level_cd_m2) * points.accent
    return Look(points.colour * fine, np.full_like(y, 0.06), level)


def plate_look(points: Points) -> Look:
    """Number plate: dark figures on a pale ground."""
    y = points.local_m[1]
    wide, high = points.width_m(1), points.width_m(2)
    ink = pulse(y / 0.075 + 0.1 * (points.seed % 7), 0, 0.5, wide / 0.075)
    ink = ink * (cell_random(np.floor(y / 0.075), points.seed % 31, 5) > 0.15)
    ink = ink * band(np.abs(y), -1, 0.22, wide) * np.clip(0.05 / np.maximum(high, 0.05), 0, 1)
    return Look(points.colour * (1 - 0.6 * ink), np.full_like(y, 0.02))


def tyre_look(points: Points) -> Look:
    """Rubber tyre on a rim with five spokes; local z is the axle."""
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
