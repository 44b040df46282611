"""A dataset that is made once, and a copy of it for tests that change it."""

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from support.browsing import client_of, make_judged
from support.paths import shared_folder


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clear frames with accepted and rejected variants, only to be read."""
    return shared_folder(
        tmp_path_factory, "judged", lambda folder: make_judged(folder / "data")
    ) / ("data")


@pytest.fixture
def copied(judged: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(judged, tmp_path / "copied"))


@pytest.fixture(scope="session")
def client(judged: Path) -> TestClient:
    """Client of the page of `judged`."""
    return client_of(judged)
