"""Headlamps: of what has a vehicle's size, stands across the view and has no tail lamps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nightrain.pipelines.engines.weather.lamps.round_light import add_round_light
from nightrain.pipelines.engines.weather.lamps.tail_lamps import reddish
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene

BAND_M = (0.45, 0.95)  # above the ground: where a vehicle has lamps, and the road has nothing
LAMP_ABOVE_GROUND_M = 0.68
DEPTH_M, SIDE_M = (6.0, 60.0), 14.0
MOST_SLOPE = 0.8  # of depth, along the view over across it: fronts, not flanks
TAIL_UP_TO_M, MOST_RED = 1.4, 0.01  # height and share of the reddish pixels of a rear
WIDTH_M, MOST_LENGTH_M = (1.3, 2.3), 0.9  # of a front, across and along the view
OVER_VEHICLE_M, MOST_OVER = (2.9, 4.0), 0.25  # share of columns with something at its depth there
INSET_M, RADIUS_M = 0.22, 0.09
LIT_SHARE = 0.7  # of the vehicles; others are parked
COLOURS = np.array([[1.12, 0.98, 0.78], [0.95, 1.0, 1.12]], np.float32)  # halogen, LED


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleFront:
    """Columns of a vehicle that faces the camera, and its depth."""

    first: int
    last: int  # inclusive
    row: float  # of its lamps
    depth_m: float


def add_head_lamps(
    light: np.ndarray, scene: OpticalScene, strength: float, rng: np.random.Generator
) -> None:
    """Add the lamps of some vehicles that face the camera to linear light (H, W, 3), in place."""
    for front in find_fronts(scene):
        is_lit = rng.uniform() < LIT_SHARE
        peak = np.float32(strength * np.exp(rng.uniform(-0.7, 0.7)))
        colour = COLOURS[rng.integers(len(COLOURS))] * peak
        inset = INSET_M * scene.focal_px / front.depth_m
        radius = RADIUS_M * scene.focal_px / front.depth_m
        for column in (front.first + inset, front.last - inset) if is_lit else ():
            at = (column, front.row)
            add_round_light(light, scene.depth_m, at, 0.9 * front.depth_m, radius, colour)


def find_fronts(scene: OpticalScene) -> Iterator[VehicleFront]:
    """Yield pieces of the scene with the width of a vehicle's front and nothing red about them."""
    low, high = BAND_M
    nearest, farthest = DEPTH_M
    in_band = (scene.height_m > low) & (scene.height_m < high)
    in_band &= (scene.depth_m > nearest) & (scene.depth_m < farthest)
    count = np.count_nonzero(in_band, axis=0)  # (W,)
    depth_m = np.where(in_band, scene.depth_m, 0).sum(axis=0) / np.maximum(count, 1)
    beside_m = scene.rays_x[0] * depth_m
    usable = (count > 0) & (np.abs(beside_m) < SIDE_M)
    lamp_band = (scene.height_m > low) & (scene.height_m < TAIL_UP_TO_M)
    lamp_band &= np.abs(scene.depth_m - depth_m) < MOST_LENGTH_M
    is_red = (reddish(scene.clear) & lamp_band).sum(axis=0)
    is_over = _reach_above(scene, depth_m)
    for first, last in _runs(depth_m, beside_m, usable):
        columns = slice(first, last + 1)
        wide_m = abs(beside_m[last] - beside_m[first])
        long_m = float(np.ptp(depth_m[columns]))
        is_front = WIDTH_M[0] < wide_m < WIDTH_M[1] and long_m < MOST_LENGTH_M
        has_red = is_red[columns].sum() > MOST_RED * count[columns].sum()
        if is_front and not has_red and is_over[columns].mean() < MOST_OVER:
            z = float(np.median(depth_m[columns]))
            y_m = scene.plane.y_m(float(beside_m[columns].mean()), z, LAMP_ABOVE_GROUND_M)
            row = float(scene.intrinsics[1, 1] * y_m / z + scene.intrinsics[1, 2])
            yield VehicleFront(first=first, last=last, row=row, depth_m=z)


def _runs(
    depth_m: np.ndarray, beside_m: np.ndarray, usable: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Yield first and last column of each piece that stands across the view, (W,) each."""
    aside_m = np.maximum(np.abs(np.diff(beside_m)), 1e-3)
    goes_on = usable[1:] & usable[:-1] & (np.abs(np.diff(depth_m)) < MOST_SLOPE * aside_m)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], goes_on.astype(np.int8), [0]))))
    yield from edges.reshape(-1, 2).tolist()


def _reach_above(scene: OpticalScene, depth_m: np.ndarray) -> np.ndarray:
    """Whether each column (W,) has something at its depth that is higher than a vehicle."""
    low, high = OVER_VEHICLE_M
    above = (scene.height_m > low) & (scene.height_m < high)
    above &= np.abs(scene.depth_m - depth_m) < MOST_LENGTH_M
    return above.any(axis=0)
