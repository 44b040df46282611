"""Collision filter: actors that would meet another body are left out."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.world.scene.scene import Actor
from nightrain.datasets.world.street.motion import Motion

STEP_S = 0.25
VIEW_M = 170.0  # actors that never come this close to the ego vehicle are dropped too
EGO_ROOM_M, ROOM_M = 0.65, 0.15  # clearance around the ego vehicle, and between any two actors
_DISCS = 4  # a footprint is a row of discs


def without_collisions(
    ego: Motion,
    ego_box_m: tuple[float, float, float],
    actors: Sequence[Actor],
    duration_s: float,
) -> list[Actor]:
    """Keep actors that stay clear of the ego vehicle and of those before them in the list.

    `ego_box_m` is the ego vehicle's length, its width, and how far ahead its middle is.
    """
    times = np.arange(-0.5, duration_s + 1.0, STEP_S)
    length, width, ahead = ego_box_m
    tracks = [_discs(ego, times, length, width, ahead, still=False)]
    reach = [(length + width) / 2]
    radii = [width / 2 + EGO_ROOM_M]
    kept: list[Actor] = []
    for one in actors:
        still = one.motion.is_still()
        track = _discs(one.motion, times, *one.size_m[:2], 0.0, still=still)
        middle = track.mean(1)  # (T, 2)
        if np.linalg.norm(middle - tracks[0].mean(1), axis=1).min() > VIEW_M:
            continue
        radius, far = one.size_m[1] / 2, sum(one.size_m[:2]) / 2 + 1.0
        near = [np.abs(middle - t.mean(1)).max(1).min() < far + r for t, r in
                zip(tracks, reach, strict=True)]  # fmt: skip
        if not any(
            _meet(track, tracks[k], radius + radii[k] + ROOM_M) for k in np.flatnonzero(near)
        ):
            kept.append(one)
            tracks.append(track)
            radii.append(radius)
            reach.append(far)
    return kept


def _discs(
    motion: Motion, times_s: np.ndarray, length: float, width: float, ahead: float, still: bool
) -> np.ndarray:
    """Centres (T, 4, 2) of discs along a body at each time; (1, 4, 2) for a stationary one."""
    reach = max(length - width, 0.0) / 2
    along = np.linspace(-reach, reach, _DISCS) + ahead
    found = []
    for t in times_s[:1] if still else times_s:
        T = motion.pose(float(t))
        found.append(T[:2, 3] + along[:, None] * T[:2, 0])
    return np.array(found)


def _meet(a: np.ndarray, b: np.ndarray, apart_m: float) -> bool:
    gap = a[:, :, None] - b[:, None]  # (T, 4, 4, 2)
    return bool(((gap * gap).sum(-1) < apart_m * apart_m).any())
