"""Street lamps along the road, and lights of distant traffic (docs/papers/weather.md, eq. 14).

A lamp is drawn only on a post of the clear picture. Others light the street from where the seed
places them and are not seen: a picture without posts has its lamps beside or above it.
"""

from dataclasses import dataclass

import numpy as np

from nightrain.pipelines.engines.weather.lamps.lamp_posts import post_tops_m
from nightrain.pipelines.engines.weather.lamps.round_light import add_round_light
from nightrain.pipelines.engines.weather.optics.filters import dot
from nightrain.pipelines.engines.weather.optics.optical_scene import FAR_M, OpticalScene

COLOURS = np.array(  # linear RGB at unit luminance, roughly: sodium, warm and cool white
    [[1.75, 0.88, 0.32], [1.35, 0.96, 0.55], [0.93, 1.01, 1.15]], np.float32
)
HEAD, TAIL = (1.05, 1.0, 0.9), (3.2, 0.28, 0.2)  # lamps of distant traffic
POLE_SPACING_M = (24.0, 36.0)
POLE_SIDE_M = (5.5, 9.0)
POLE_HEIGHT_M = (6.5, 9.5)
POLES_UP_TO_M = 110.0
LAMP_RADIUS_M = 0.13
THIN_POST_FROM_M = 40.0
NEAREST_M = 3.5  # depth cannot separate foliage from a lamp that is nearer than this
TRAFFIC_FROM_M, TRAFFIC_SIDE_M = 40.0, 9.0
TRAFFIC_PER_PIXEL = 1 / 700  # upper limit, for an image 768 pixels wide
TRAFFIC_HEIGHTS_M = (0.4, 1.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """Street lamp: position and intensity."""

    position_m: np.ndarray  # (3,) camera coordinates
    candela: float
    is_seen: bool = False  # whether it is on a post of the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetLamps:
    """Lamps of a street, which have one colour."""

    lamps: list[Lamp]
    colour: np.ndarray  # (3,) linear RGB


def place_lamps(scene: OpticalScene, candela: float, rng: np.random.Generator) -> StreetLamps:
    """Place street lamps left and right along the viewing direction, and on posts."""
    colour = COLOURS[rng.integers(len(COLOURS))]
    down = scene.plane.normal_down
    spacing, side_m = rng.uniform(*POLE_SPACING_M), rng.uniform(*POLE_SIDE_M, 2)
    pole_m = rng.uniform(*POLE_HEIGHT_M)
    ahead = np.arange(rng.uniform(7, spacing), POLES_UP_TO_M, spacing / 2)
    first = int(rng.integers(2))
    lamps = []
    for index, z in enumerate(ahead):
        side = (index + first) % 2
        x = (-1, 1)[side] * side_m[side] * rng.uniform(0.9, 1.1)
        position = np.array([x, scene.plane.y_m(x, z), z]) - down * pole_m
        power = _power(candela, rng)
        if not _is_within_something(scene, position):
            lamps.append(Lamp(position_m=position, candela=power))
    for position in post_tops_m(scene):
        lamps.append(Lamp(position_m=position, candela=_power(candela, rng), is_seen=True))
    return StreetLamps(lamps=lamps, colour=colour)


def _is_within_something(scene: OpticalScene, position_m: np.ndarray) -> bool:
    """Whether a surface of the picture hides a position: it is in a house or behind a tree."""
    u, v, z = scene.intrinsics @ position_m
    row, column = int(v / z), int(u / z)
    height, width = scene.shape
    is_in_view = 0 <= row < height and 0 <= column < width
    return is_in_view and float(scene.depth_m[row, column]) < z


def _power(candela: float, rng: np.random.Generator) -> float:
    is_broken = rng.uniform() < 0.1
    power = candela * rng.uniform(0.8, 1.2)
    return 0.0 if is_broken else power


def lamp_lux(points_m: np.ndarray, lamp: Lamp, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Illuminance in lux (...) facing a lamp at points (3, ...), and unit directions to it.

    E = I / d^2 below the lamp's shade, fading out from 65 to 85 degrees off the vertical.
    """
    position = lamp.position_m.astype(np.float32).reshape(3, *[1] * (points_m.ndim - 1))
    offset = points_m - position
    squared = np.maximum(dot(offset, offset), np.float32(NEAREST_M**2))
    inverse = 1 / np.sqrt(squared)
    cos_down = dot(offset, down.astype(np.float32)) * inverse
    shade = np.clip((cos_down - 0.09) / 0.33, 0, 1)
    offset *= -inverse
    return shade * (np.float32(lamp.candela) / squared), offset


def draw_lamps(
    light: np.ndarray, scene: OpticalScene, street: StreetLamps, full_scale_lux: float
) -> None:
    """Add the lamps on posts and those whose posts are too thin to see to linear light, in place.

    `light` is (H, W, 3).
    """
    k = scene.intrinsics
    for lamp in street.lamps:
        x, y, z = lamp.position_m
        if not lamp.is_seen and z < THIN_POST_FROM_M:
            continue
        u, v = k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]
        radius = scene.focal_px * LAMP_RADIUS_M / z
        peak = np.sqrt(lamp.candela / 1500) * 1100 / full_scale_lux
        add_round_light(
            light, scene.depth_m, (u, v), 0.97 * z, radius, street.colour * np.float32(peak)
        )


def draw_far_traffic(
    light: np.ndarray, scene: OpticalScene, count: int, strength: float, rng: np.random.Generator
) -> None:
    """Add lamps of distant traffic to linear light (H, W, 3), in place.

    They are at the height of a vehicle's lamps, in the road's corridor.
    """
    low, high = TRAFFIC_HEIGHTS_M
    far = (scene.depth_m > TRAFFIC_FROM_M) & (scene.depth_m < FAR_M)
    beside_m = scene.rays_x * np.minimum(scene.depth_m, np.float32(1e3))
    far &= np.abs(beside_m) < TRAFFIC_SIDE_M
    rows, columns = np.nonzero(far & (scene.height_m > low) & (scene.height_m < high))
    choice = rng.uniform(0, 1, count)
    is_tail = rng.uniform(size=count) < 0.5
    peaks = strength * rng.lognormal(0.0, 0.9, count)
    radii = rng.uniform(0.6, 2.2, count) * max(scene.shape) / 768
    if len(rows) == 0:
        return
    count = min(count, 1 + int(len(rows) * TRAFFIC_PER_PIXEL * 768**2 / max(scene.shape) ** 2))
    chosen = (choice * len(rows)).astype(int)
    for index in range(count):
        at, peak, radius = chosen[index], peaks[index], radii[index]
        u, v = float(columns[at]), float(rows[at])
        depth = float(scene.depth_m[rows[at], columns[at]])
        colour = np.array(TAIL if is_tail[index] else HEAD, np.float32) * np.float32(peak)
        add_round_light(light, scene.depth_m, (u, v), 0.97 * depth, radius, colour)
