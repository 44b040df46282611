"""Plan of a world: its places, conditions and recording settings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.nuscenes_tables import token
from nightrain.datasets.world.sensors.schedule import KEYFRAME_US, RecordedSweeps, Sweeps

Truth = Literal["depth", "semantic", "instance", "flow"]
TRUTHS: tuple[Truth, ...] = ("depth", "semantic", "instance", "flow")
VAL_EVERY = 5  # every fifth place is for validation


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpec:
    """One scene to render: a place under a condition, for a split.

    The same place under another condition has the same street, traffic, drive and times.
    """

    place: int
    condition: Condition = Condition.CLEAR
    split: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Recording settings of every scene of a world."""

    num_keyframes: int
    size: tuple[int, int] = (448, 256)  # width, height
    cameras: tuple[str, ...] = ("CAM_FRONT",)
    sweeps: RecordedSweeps = "neighbours"
    stereo: bool = False  # keyframes of CAM_FRONT_STEREO with those of CAM_FRONT
    lidar_sweeps: bool = False  # also the sweeps nearest to t-1 and t+1
    truth: tuple[Truth, ...] = TRUTHS


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """Everything that determines the bytes of one scene, and its names."""

    seed: int
    spec: SceneSpec
    recording: Recording
    with_map: bool = True  # the first scene of a place writes its map and log

    @property
    def place(self) -> int:
        """Number of the place, which also determines the times of the scene."""
        return self.spec.place

    @property
    def name(self) -> str:
        """Name of the scene as in nuScenes: world-0003 if clear, world-0003-night at night."""
        name = f"world-{self.place:04d}"
        clear = self.spec.condition is Condition.CLEAR
        return name if clear else f"{name}-{self.spec.condition}"

    @property
    def sweeps(self) -> Sweeps:
        """Images that this scene has between its keyframes."""
        if self.recording.sweeps != "neighbours-by-day":
            return self.recording.sweeps
        return "neighbours" if self.spec.condition is Condition.CLEAR else "none"

    @property
    def duration_s(self) -> float:
        """Duration of the drive."""
        return self.recording.num_keyframes * KEYFRAME_US / 1e6

    def token(self, *parts: object) -> str:
        """Token of a record of this scene."""
        return token("world", self.seed, self.place, self.spec.condition, *parts)

    def place_token(self, *parts: object) -> str:
        """Token of a record that the scenes of one place share: its log and its map."""
        return token("world", self.seed, self.place, *parts)

    def rng(self, *parts: object) -> np.random.Generator:
        """Random generator of the place, the same under every condition."""
        return np.random.Generator(np.random.PCG64(int(self.place_token("rng", *parts), 16)))


def clear_places(num: int) -> tuple[SceneSpec, ...]:
    """List places 0 to num - 1 on a clear day."""
    return scene_specs(num, (Condition.CLEAR,))


def scene_specs(
    num: int, conditions: tuple[Condition, ...], pairs: tuple[Condition, ...] = ()
) -> tuple[SceneSpec, ...]:
    """List places 0 to num - 1, cycling through the conditions, and again under each of `pairs`.

    Scenes of one place are in one split: every fifth place is for validation, given at least five.
    """
    found = []
    for place in range(num):
        first = conditions[place % len(conditions)]
        for condition in dict.fromkeys((first, *pairs)):
            split = split_of(place, num)
            found.append(SceneSpec(place=place, condition=condition, split=split))
    return tuple(found)


def split_of(place: int, num_places: int) -> str:
    """Split of a place: every fifth one is for validation, given at least five."""
    is_val = num_places >= VAL_EVERY and place % VAL_EVERY == VAL_EVERY - 1
    return "val" if is_val else "train"
