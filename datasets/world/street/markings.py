"""Road markings: lines, parking bays, crossings, stop lines."""

import numpy as np

from nightrain.datasets.world.shapes.noise import band, pulse
from nightrain.datasets.world.street.street import Street

ZEBRA_M, STOP_M = (0.4, 3.4), (4.3, 4.7)  # from the end of a stretch, back along it
LINE_M = 0.065  # half the width of a line
_MID_BLOCK_M = 90.0  # distance between crossings away from junctions


def markings(
    s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray, street: Street
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (N,) and colour (3, N) of paint at way s and offset d, metres.

    A pixel covers `long` by `wide` metres.
    """
    free, zebra, stop = _junction(s, d, long, wide, street)
    centre = _centre(s, d, long, wide, street) * free
    cover = np.maximum.reduce([centre, _along(s, d, long, wide, street) * free, zebra, stop])
    white = np.full((3, len(s)), 0.60, np.float32)
    line = np.array(street.marking, np.float32)[:, None]
    return cover, np.where(centre > 0.5 * cover, line, white)


def _centre(
    s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray, street: Street
) -> np.ndarray:
    """Centre line: dashed, or double where there are several lanes each way."""
    single = band(d, -LINE_M, LINE_M, wide)
    double = band(np.abs(d), 0.09, 0.09 + 2 * LINE_M, wide)
    style = street.style % 4
    if style == 3:
        return np.zeros_like(s)
    if street.num_lanes > 1 or style == 2:
        return double
    return single * pulse(s / 9.0, 0.0, 0.42, long / 9.0)


def _along(
    s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray, street: Street
) -> np.ndarray:
    """Lines between lanes, at the outer edges of the lanes, and between parking bays."""
    away = np.abs(d)
    cover = np.zeros_like(s)
    for k in range(1, street.num_lanes):
        at = k * street.lane_m
        dash = pulse(s / 12.0, 0.0, 0.3, long / 12.0)
        cover = np.maximum(cover, band(away, at - LINE_M, at + LINE_M, wide) * dash)
    if street.style // 4 % 3 == 0:
        edge = street.lanes_m - (0.0 if street.parking_m else 0.3)
        cover = np.maximum(cover, band(away, edge - LINE_M, edge + LINE_M, wide))
    if street.parking_m and street.style // 12 % 2 == 0:
        bay = pulse(s / 6.0, 0.0, 0.10 / 6.0, long / 6.0)
        cover = np.maximum(cover, bay * band(away, street.lanes_m, street.half_road_m - 0.1, wide))
    return cover


def _junction(
    s: np.ndarray, d: np.ndarray, long: np.ndarray, wide: np.ndarray, street: Street
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (N,) of lane lines (none near a junction), of crossings and of stop lines."""
    low, high = street.gap_m
    if high > low:
        low_s, high_s = street.s_at_m(low), street.s_at_m(high)
        after = np.where(s < (low_s + high_s) / 2, low_s - s, s - high_s)
    else:
        along = s / _MID_BLOCK_M - np.floor(s / _MID_BLOCK_M)
        after = np.abs(along - 0.5) * _MID_BLOCK_M - 1.5
    on_road = band(np.abs(d), -1, street.half_road_m - 0.3, wide)
    zebra = pulse(d / 1.0, 0.0, 0.5, wide) * band(after, *ZEBRA_M, long) * on_road
    incoming = (d < 0) == (s < (low + high) / 2) if high > low else d < 0
    lanes = band(np.abs(d), 0.1, street.lanes_m, wide)
    stop = band(after, *STOP_M, long) * lanes * incoming
    if high <= low:
        zebra, stop = zebra * (after < 3), stop * 0
    free = band(after, STOP_M[1] + 0.3, 1e6, long)
    return free, zebra, stop
