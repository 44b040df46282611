"""Fixtures that several test files share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.synthetic import SyntheticSource

TESTS = Path(__file__).parent
# Processes that tests start import tests/support and the test file itself as this one does.
_test_folders = sorted({str(path.parent) for path in TESTS.rglob("test_*.py")})
_inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
os.environ["PYTHONPATH"] = os.pathsep.join([*_inherited, str(TESTS), *_test_folders])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with 10 small clear train frames in 3 shards."""
    from support.synthetic import ingest_synthetic

    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=10), frames_per_shard=4)
    return root


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A real Prefect server on loopback with a database of its own."""
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        logging.getLogger("prefect").setLevel(logging.ERROR)
        yield
