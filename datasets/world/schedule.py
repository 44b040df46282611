"""When the sensors of a scene fire; timestamps are whole microseconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from datasets.world.rig import CAMERAS

FIRST_SCENE_US = 1_600_000_000_000_000
SCENE_SPACING_US = 3_600_000_000
KEYFRAME_US = 500_000
SHOTS_PER_KEYFRAME = 6  # 12 Hz

Sweeps = Literal["neighbours", "all"]


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of one camera."""

    timestamp_us: int
    keyframe: int  # the keyframe it belongs to: its own, or the nearest
    is_keyframe: bool


def keyframe_us(scene: int, keyframe: int) -> int:
    """When the LiDAR of a keyframe fires; the sample's time."""
    return FIRST_SCENE_US + scene * SCENE_SPACING_US + keyframe * KEYFRAME_US


def seconds(scene: int, timestamp_us: int) -> float:
    """Time within a scene, from its first keyframe."""
    return (timestamp_us - keyframe_us(scene, 0)) / 1e6


def shots(scene: int, camera: str, num_keyframes: int, sweeps: Sweeps) -> Iterator[Shot]:
    """The images of a camera in order of time; every keyframe has one before and one after it."""
    for keyframe in range(num_keyframes):
        last = keyframe == num_keyframes - 1
        steps = [-1, 0, 1] if sweeps == "neighbours" else [*range(-1 if not keyframe else 0, 6)]
        if last and sweeps == "all":
            steps = [step for step in steps if step <= 1]
        for step in steps:
            yield _shot(scene, camera, keyframe, step, last)


def _shot(scene: int, camera: str, keyframe: int, step: int, last: bool) -> Shot:
    at_us = keyframe_us(scene, keyframe) + CAMERAS[camera].lag_us
    at_us += round(step * KEYFRAME_US / SHOTS_PER_KEYFRAME)
    nearest = keyframe + (step > SHOTS_PER_KEYFRAME // 2 and not last)
    return Shot(at_us, nearest, step == 0)
