"""Fixtures that several test files share, and how files are spread over processes."""

import gc
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from support.processes import DEADLINE_S
from support.synthetic import SyntheticSource

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; several processes run
TESTS = Path(__file__).parent
ON_SERVER = "tests/flows_/server/"
# Files with processes that are forked from a server (support.processes), which imports for seconds.
FORKING = (
    "tests/depthmodel_/training/test_train_processes.py",
    "tests/pipelines_/engines/test_diffusion_shards.py",
    "tests/pipelines_/ingest/test_ingest_growth.py",
    "tests/pipelines_/labels/test_labels.py",
)
# Processes that tests start import tests/support and the test file itself as this one does.
_test_folders = sorted({str(path.parent) for path in TESTS.rglob("test_*.py")})
_inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
os.environ["PYTHONPATH"] = os.pathsep.join([*_inherited, str(TESTS), *_test_folders])

hypothesis.settings.register_profile("test", deadline=None, derandomize=True)
hypothesis.settings.register_profile("campaign", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("test")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector a million objects of imports, which all stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries report leaks when the interpreter ends


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order files so that the longest start first and short ones fill the gaps at the end.

    Tests of random examples belong to a campaign, too, which draws more of them.
    """
    in_campaign = config.getoption("--hypothesis-profile") == "campaign"
    num_slow: dict[Path, int] = {}
    for item in items:
        if in_campaign and getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("campaign")
        is_slow = item.get_closest_marker("slow") is not None
        num_slow[item.path] = num_slow.get(item.path, 0) + is_slow
    items.sort(key=lambda item: (not item.nodeid.startswith(ON_SERVER), -num_slow[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A process takes whole files, and all that share a server: Prefect's, or that of forks."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(ON_SERVER):
                return ON_SERVER
            return FORKING[0] if nodeid.startswith(FORKING) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Scheduler(config, log)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with 10 small clear train frames in 3 shards."""
    from support.synthetic import ingest_synthetic

    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=10), frames_per_shard=4)
    return root


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """A real Prefect server on loopback with a database of its own, for tests/flows_/server."""
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(DEADLINE_S)):
        logging.getLogger("prefect").setLevel(logging.ERROR)
        yield
