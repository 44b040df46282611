"""Visible part of a variant: what its condition leaves of the clear frame, at a gate's size.

An engine that simulates weather hands over its own map. For others, it is expected from the
severity and the depth of the clear frame: light is lost in fog, rain and falling snow over the
distance (Koschmieder 1924), and at night only what the headlamps and street lamps reach is seen.
"""

import cv2
import numpy as np

from nightrain.datasets.conditions import CONDITIONS, Condition, physical_values
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.weather.optics.veil import extinction_per_m
from nightrain.pipelines.engines.weather.rain import rain_extinction_per_m
from nightrain.pipelines.engines.weather.snow import snow_extinction_per_m

NEAR_SHARE = 1 / 64  # of the width: what is so near to something hidden is hidden, too
HEADLAMP_CD = 5000.0  # of a low beam, in the direction of what stands ahead
LAMP_PART = 0.005  # lux on what a street lamp lights, per candela of it: 8 m away, 30 % of the time
HALF_SEEN_LUX = 1.0  # illuminance at which half of the contrast is left in a camera's picture


def visible_part(request: Request, variant: Variant, shape: tuple[int, ...]) -> np.ndarray:
    """Return visibility (h, w) in [0, 1]; everything is visible where nothing is known.

    The rim of something hidden, such as a drop's, counts as hidden.
    """
    found = variant.visibility
    if found is None:
        if request.depth_m is None:
            return np.ones(shape, np.float32)
        found = expected_visibility(request.condition, request.severity, request.depth_m)
    small = cv2.resize(found, shape[::-1], interpolation=cv2.INTER_AREA)
    side = 2 * round(shape[1] * NEAR_SHARE / 2) + 1
    return cv2.erode(small, np.ones((side, side), np.uint8))


def expected_visibility(condition: Condition, severity: float, depth_m: np.ndarray) -> np.ndarray:
    """Share of contrast (H, W) that a condition leaves at depths (H, W) in metres; sky = inf.

    Conditions without physical values leave everything.
    """
    physical = physical_values(condition, severity) if CONDITIONS[condition].scales else {}
    extinction = 0.0
    if (visibility_m := physical.get("visibility_m")) is not None:
        extinction += extinction_per_m(visibility_m)
    if (rain := physical.get("rain_mm_per_h")) is not None:
        extinction += rain_extinction_per_m(rain)
    if (snow := physical.get("snow_mm_per_h")) is not None:
        extinction += snow_extinction_per_m(snow)
    distance_m = np.minimum(depth_m, 1e4).astype(np.float32)
    left = np.exp(-np.float32(extinction) * distance_m)
    if CONDITIONS[condition].is_night and "ambient_lux" in physical:
        lit = physical["ambient_lux"] + LAMP_PART * physical["street_lamp_cd"]
        lux = lit + HEADLAMP_CD / np.maximum(distance_m, 1) ** 2
        left = left * (lux / (lux + np.float32(HALF_SEEN_LUX)))
    return left.astype(np.float32)
