"""A rendered world that several files read."""

from pathlib import Path

import pytest

from nightrain.datasets.world.export.writer import write_world
from support.paths import shared_folder

SIZE = (112, 64)
SEED = 5


@pytest.fixture(scope="session")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of two keyframes, SIZE pixels, seed SEED, with every truth; for reading."""

    def make(out: Path) -> None:
        write_world(out, scenes=2, frames=2, seed=SEED, size=SIZE)

    return shared_folder(tmp_path_factory, "two-scenes", make)
