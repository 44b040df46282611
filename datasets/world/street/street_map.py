"""Map mask of a place: the drivable area seen from above."""

import cv2
import numpy as np

from nightrain.datasets.world.street.street import STREET_Y_M, Street

MAP_PIXEL_M = 0.1  # resolution of nuScenes' map masks
MAP_HEIGHT_M = 2 * STREET_Y_M


def road_png(street: Street) -> bytes:
    """Drivable area as an 8-bit PNG; the devkit tests for the value 255."""
    road = _road_mask(street).view(np.uint8) * np.uint8(255)
    ok, data = cv2.imencode(".png", road)
    if not ok:
        raise ValueError(f"OpenCV could not encode a map of shape {road.shape}")
    return data.tobytes()


def _road_mask(street: Street) -> np.ndarray:
    """Drivable area (rows, columns) seen from above; the bottom row is y = 0."""
    x = np.arange(0, street.length_m, MAP_PIXEL_M)
    y = np.arange(round(MAP_HEIGHT_M / MAP_PIXEL_M))[::-1, None] * MAP_PIXEL_M
    half_m = street.half_road_m * np.sqrt(1 + street.slope(x) ** 2)  # measured along y
    road = np.abs(y - STREET_Y_M - street.swing_m(x)) <= half_m
    cross = street.cross
    if cross is not None:
        columns = np.abs(x - street.cross_at_m) <= cross.half_road_m
        road |= (np.abs(y - STREET_Y_M) <= cross.length_m / 2) & columns
    return road
