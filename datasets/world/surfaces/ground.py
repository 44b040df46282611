"""Ground materials: asphalt with its markings, kerbs, pavement, grass."""

import numpy as np

from nightrain.datasets.world.shapes.noise import band, cell_random, fractal, pulse, smoothstep
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.street.markings import markings
from nightrain.datasets.world.street.street import Street
from nightrain.datasets.world.surfaces.look import Look

_GRAIN = ((3.7, 0.08), (0.9, 0.10), (0.27, 0.15), (0.08, 0.20), (0.025, 0.30), (0.009, 0.3))
_WORN = ((3.1, 0.45), (0.7, 0.4), (0.15, 0.35), (0.04, 0.3))
_LAWN = ((6.0, 0.22), (1.3, 0.2), (0.3, 0.25), (0.08, 0.35), (0.025, 0.3))
_STAIN = ((7.0, 0.10), (1.9, 0.10), (0.5, 0.08))


def street_look(points: Points, street: Street) -> Look:
    """Asphalt with its markings."""
    s, d = _street_coordinates(points, street)
    turned = abs(np.sin(street.yaw_rad)) > 0.7  # local axes are world axes
    long, wide = points.width_m(int(turned)), points.width_m(int(not turned))
    albedo = _road(s, d, long, wide, street)
    return Look(albedo.astype(np.float32), np.full_like(s, 0.01))


def lawn_look(points: Points) -> Look:
    """Grass next to the road."""
    x, y = points.world_m[0], points.world_m[1]
    width = np.maximum(points.width_m(0), points.width_m(1))
    return Look(_lawn(x, y, width).astype(np.float32), np.zeros_like(x))


def yard_look(points: Points) -> Look:
    """Old concrete and gravel next to the road."""
    x, y = points.world_m[0], points.world_m[1]
    width = np.maximum(points.width_m(0), points.width_m(1))
    grain = fractal(x, y, width, (*_STAIN, *_GRAIN[2:]), 77)
    joint = np.maximum(pulse(x / 5, 0, 0.006, width / 5), pulse(y / 5, 0, 0.006, width / 5))
    tone = 0.19 * np.maximum(1 + grain, 0.1) * (1 - 0.4 * joint)
    return Look(np.array([[1.0], [0.96], [0.88]], np.float32) * tone, np.zeros_like(tone))


def _street_coordinates(points: Points, street: Street) -> tuple[np.ndarray, np.ndarray]:
    s, d = street.coordinates(points.world_m[0], points.world_m[1])
    return s.astype(np.float32), d.astype(np.float32)


def _road(
    s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray, street: Street
) -> np.ndarray:
    grain_width = np.sqrt(long * wide)
    grain = fractal(s, d, grain_width, _GRAIN, 3)
    tone = 0.085 * (1 + grain + _tyre_tracks(d, street, wide) + _patches(s, d, long, wide))
    tone *= 1 - 0.55 * _cracks(s, d, grain_width)
    tint = np.array([[1.0], [0.99], [0.96]], np.float32)
    albedo = tint * np.maximum(tone, 0.02)
    paint, colour = markings(s, d, long, wide, street)
    worn = smoothstep(-0.55, -0.05, fractal(s, d, grain_width, _WORN, 11) + 0.3)
    cover = paint * (0.25 + 0.75 * worn)
    albedo = albedo + (colour - albedo) * cover
    gutter = band(np.abs(d), street.half_road_m - 0.35, street.half_road_m, wide)
    return albedo * (1 - 0.28 * gutter * (1 + fractal(s, d, grain_width, _WORN, 5)))


def _tyre_tracks(d: np.ndarray, street: Street, wide: np.ndarray) -> np.ndarray:
    """Tyre tracks: lanes are darker along their middle (oil) and paler where tyres polish them."""
    lane = np.minimum(np.floor(np.abs(d) / street.lane_m), street.num_lanes - 1)
    from_middle = np.abs(np.abs(d) - (lane + 0.5) * street.lane_m)
    oil = -0.16 * smoothstep(0.55, 0.1, from_middle)
    polish = 0.10 * smoothstep(0.35, 0.0, np.abs(from_middle - 0.78))
    parking = -0.12 * band(np.abs(d), street.lanes_m, street.half_road_m, wide)
    return oil + polish + parking


def _patches(s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Repair patches: darker rectangles with sealed edges in some grid cells; manhole covers."""
    i, j = np.floor(s / 5.3), np.floor(d / 2.6)
    chance = cell_random(i, j, 21)
    u, v = s / 5.3 - i, d / 2.6 - j
    length = 0.25 + 0.7 * cell_random(i, j, 22)
    inner = band(u, 0.05, length, long / 5.3) * band(v, 0.1, 0.85, wide / 2.6)
    outer = band(u, 0.04, length + 0.01, long / 5.3) * band(v, 0.08, 0.87, wide / 2.6)
    tone = np.where(cell_random(i, j, 23) < 0.65, -0.30, 0.22)
    patch = np.where(chance < 0.22, inner * tone - 0.35 * (outer - inner), 0)
    centre = 0.3 + 0.4 * cell_random(i, j, 24)
    radius = np.hypot((u - centre) * 5.3, (v - 0.5) * 2.6)
    lid = band(radius, -1.0, 0.33, np.maximum(long, wide))
    ring = band(radius, 0.27, 0.33, np.maximum(long, wide))
    return patch + np.where(chance > 0.93, -0.5 * lid + 0.35 * ring, 0)


def _cracks(s: np.ndarray, d: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Cracks: thin lines along the zero crossings of low-frequency noise, in some regions only."""
    bend = fractal(s, d, width, ((2.7, 0.6), (0.8, 0.25), (0.2, 0.1)), 41)
    region = smoothstep(0.05, 0.35, fractal(s, d, width, ((9.0, 0.8),), 43))
    line = np.clip(0.014 / np.maximum(0.014, np.abs(bend)) - 0.3, 0, 1)
    return line * region * np.clip(2 - width / 0.03, 0, 1)


def _lawn(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> np.ndarray:
    blades = fractal(x, y, width, _LAWN, 51)
    dry = np.clip(0.5 + fractal(x, y, width, ((11.0, 0.5), (2.7, 0.4), (0.7, 0.3)), 53), 0, 1)
    green = np.array([[0.085], [0.155], [0.035]], np.float32)
    straw = np.array([[0.20], [0.19], [0.08]], np.float32)
    return (green + (straw - green) * dry * 0.7) * np.maximum(1 + blades, 0.15)


def pavement_look(points: Points, street: Street) -> Look:
    """Paving slabs of 0.6 m on top, kerb stones of 1 m along the edge and on its face."""
    s, d = _street_coordinates(points, street)
    long, wide = points.width_m(0), points.width_m(1)
    width = np.sqrt(long * wide)
    edge = np.abs(np.abs(d) - street.half_road_m) < 0.22
    size = np.where(edge, 1.0, 0.6)
    row = np.floor(d / size)
    shifted = s / size + 0.5 * (row % 2) * ~edge
    slab = 0.16 * (cell_random(np.floor(shifted), row, 61) - 0.5)
    joint = pulse(shifted, 0.0, 0.018 / size, long / size)
    joint = np.maximum(joint, np.where(edge, 0, pulse(d / size, 0.0, 0.018 / size, wide / size)))
    grain = fractal(s, d, width, (*_STAIN, (0.12, 0.10), (0.03, 0.14), (0.012, 0.12)), 63)
    tone = np.where(edge, 0.36, 0.27) * (1 + slab + grain) * (1 - 0.5 * joint)
    return Look(np.array([[1.0], [0.97], [0.92]], np.float32) * tone, np.zeros_like(tone))
