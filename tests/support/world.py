"""A small world seen by six cameras, with annotations and exact truth; for reading."""

from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import write_world
from nightrain.datasets.world.sensors.rig import CAMERAS
from support.paths import shared_folder

SCENES = (
    SceneSpec(place=0),
    SceneSpec(place=0, condition=Condition.NIGHT),
    SceneSpec(place=1, condition=Condition.RAIN),
    SceneSpec(place=2, condition=Condition.NIGHT, split="val"),
)


def six_camera_world(factory: pytest.TempPathFactory) -> Path:
    """Folder of the world: one keyframe of each scene, 96 x 56 pixels."""

    def make(out: Path) -> None:
        write_world(
            out,
            scenes=SCENES,
            frames=1,
            seed=3,
            size=(96, 56),
            cameras=tuple(CAMERAS),
            sweeps="none",
            truth=("depth", "instance"),
        )

    return shared_folder(factory, "six-cameras", make)
