"""Firing times of a scene's sensors; timestamps are whole microseconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nightrain.datasets.world.sensors.rig import MOUNTS

FIRST_SCENE_US = 1_600_000_000_000_000
SCENE_SPACING_US = 3_600_000_000
KEYFRAME_US = 500_000
SHOTS_PER_KEYFRAME = 6  # 12 Hz
TURN_US = 50_000  # one turn of the LiDAR: 20 Hz
NEAREST_TURNS = (-2, 1)  # nearest to the front camera's t-1 and t+1: 118 ms before, 48 ms after

Sweeps = Literal["none", "neighbours", "all"]  # images beside the keyframes
RecordedSweeps = Literal[Sweeps, "neighbours-by-day"]  # by-day: of clear scenes alone


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of one camera, or one turn of the LiDAR."""

    timestamp_us: int
    keyframe: int  # index of its own keyframe, or of the nearest one
    is_keyframe: bool


def keyframe_us(place: int, keyframe: int) -> int:
    """Firing time of the LiDAR at a keyframe, which is the sample's timestamp."""
    return FIRST_SCENE_US + place * SCENE_SPACING_US + keyframe * KEYFRAME_US


def seconds(place: int, timestamp_us: int) -> float:
    """Time since the scene's first keyframe."""
    return (timestamp_us - keyframe_us(place, 0)) / 1e6


def shots(place: int, camera: str, num_keyframes: int, sweeps: Sweeps) -> Iterator[Shot]:
    """Yield the images of a camera in order of time; `sweeps` adds images between keyframes."""
    for keyframe in range(num_keyframes):
        last = keyframe == num_keyframes - 1
        steps = [0] if sweeps == "none" else [-1, 0, 1]
        if sweeps == "all":
            end = 2 if last else SHOTS_PER_KEYFRAME
            steps = [*range(0 if keyframe else -1, end)]
        for step in steps:
            yield _shot(place, camera, keyframe, step, last)


def turns(place: int, num_keyframes: int, with_sweeps: bool) -> Iterator[Shot]:
    """LiDAR turns in order of time: at keyframes, and the nearest to t-1 and t+1."""
    before, after = NEAREST_TURNS
    for keyframe in range(num_keyframes):
        for step in (before, 0, after) if with_sweeps else (0,):
            yield Shot(keyframe_us(place, keyframe) + step * TURN_US, keyframe, step == 0)


def _shot(place: int, camera: str, keyframe: int, step: int, last: bool) -> Shot:
    at_us = keyframe_us(place, keyframe) + MOUNTS[camera].lag_us
    at_us += round(step * KEYFRAME_US / SHOTS_PER_KEYFRAME)
    nearest = keyframe + (step > SHOTS_PER_KEYFRAME // 2 and not last)
    return Shot(at_us, nearest, step == 0)
