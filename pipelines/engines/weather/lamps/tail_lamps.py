"""Tail lamps: small red regions of the clear picture at the height of a vehicle's lamps."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.lamps.regions import Region, regions
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene

RED_OVER_OTHERS, LEAST_RED = 3.5, 0.03  # of linear light
REDDISH_OVER_OTHERS, MOST_REDDISH = 2.3, 0.4  # share of what is around a lamp: bodies are red, too
WIDTH_M, HEIGHT_M = (0.04, 0.7), (0.04, 0.55)
ABOVE_GROUND_M = (0.3, 1.7)
UP_TO_M = 70.0
LEAST_FILL, LEAST_PX, LARGEST_SHARE = 0.45, 3, 1 / 100  # of the box; of the picture
VEHICLE_M = (2.4, 1.5)  # lamps that are nearer to each other, across and along, are of one vehicle
LIT_SHARE, BRAKING_SHARE = 0.75, 0.35  # of the vehicles
BRAKING = 2.5  # times the light of a lamp whose driver does not brake
COLOUR = np.array([1.0, 0.06, 0.035], np.float32)


def add_tail_lamps(
    light: np.ndarray, scene: OpticalScene, strength: float, rng: np.random.Generator
) -> None:
    """Light up the tail lamps of some vehicles in linear light (H, W, 3), in place.

    `strength` is the light of a lamp whose driver does not brake.
    """
    lamps = find_tail_lamps(scene)
    for vehicle in _vehicles(lamps):
        is_lit, is_braking = rng.uniform(size=2) < (LIT_SHARE, BRAKING_SHARE)
        lamp_light = strength * (BRAKING if is_braking else 1.0) * rng.uniform(0.7, 1.3)
        for lamp in vehicle if is_lit else ():
            light[lamp.box] += lamp.pixels[..., None] * (COLOUR * np.float32(lamp_light))


def find_tail_lamps(scene: OpticalScene) -> list[Region]:
    """Find regions with the colour, size and height of tail lamps."""
    red, green, blue = cv2.split(scene.clear)
    others = cv2.max(green, blue)
    is_reddish = reddish(scene.clear)
    is_red = red > np.float32(RED_OVER_OTHERS) * others
    is_red &= red > np.float32(LEAST_RED)
    is_red &= scene.depth_m < UP_TO_M
    return [
        region
        for region in regions(
            is_red,
            scene,
            width_m=WIDTH_M,
            height_m=HEIGHT_M,
            least_px=LEAST_PX,
            largest_share=LARGEST_SHARE,
            least_fill=LEAST_FILL,
        )
        if ABOVE_GROUND_M[0] < region.above_ground_m < ABOVE_GROUND_M[1]
        and _reddish_around(region, is_reddish) < MOST_REDDISH
    ]


def reddish(linear: np.ndarray) -> np.ndarray:
    """Whether a pixel of linear light (H, W, 3) may be of a tail lamp or of a red body: (H, W)."""
    red, green, blue = cv2.split(linear)
    return red > np.float32(REDDISH_OVER_OTHERS) * cv2.max(green, blue)


def _reddish_around(region: Region, is_reddish: np.ndarray) -> float:
    """Share of reddish pixels in a frame around a region, as wide as half of it."""
    rows, columns = region.box
    high, wide = (1 + (part.stop - part.start) // 2 for part in region.box)
    window = (
        slice(max(0, rows.start - high), rows.stop + high),
        slice(max(0, columns.start - wide), columns.stop + wide),
    )
    inside, outside = is_reddish[region.box], is_reddish[window]
    num_around = outside.size - inside.size
    return float(outside.sum() - inside.sum()) / max(num_around, 1)


def _vehicles(lamps: list[Region]) -> list[list[Region]]:
    """Group lamps that are close together, in order of the first one."""
    found: list[list[Region]] = []
    for lamp in lamps:
        x, _, z = lamp.position_m
        near = [
            group
            for group in found
            if any(
                abs(x - other.position_m[0]) < VEHICLE_M[0]
                and abs(z - other.position_m[2]) < VEHICLE_M[1]
                for other in group
            )
        ]
        if near:
            near[0].append(lamp)
        else:
            found.append([lamp])
    return found
