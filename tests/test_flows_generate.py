"""The flow on a real Prefect server: the rows of the local mode, small reports, clear states."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.catalog import Catalog, Shard
from datasets.errors import DiskFull, NightrainError
from datasets.verify import verify
from pipelines.execute import SerialExecutor
from pipelines.run import GenerateJob, generate
from pipelines.shardwork import OnRows, ShardReport, ignore_rows
from pipelines.stop import Stop
from tests.synthetic import SyntheticSource, all_rows, ingest_synthetic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RECIPE = """
name: flow
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
  snow: {lowest: 0.2, highest: 0.8}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A real server on loopback with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    import flows  # noqa: F401  (its settings must be there before prefect is imported)

    with prefect_test_harness(server_startup_timeout=120):
        logging.getLogger("prefect").setLevel(logging.ERROR)
        yield


@pytest.fixture
def job(tmp_path: Path) -> GenerateJob:
    ingest_synthetic(tmp_path / "dataset", SyntheticSource(num_frames=9), frames_per_shard=3)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return GenerateJob(dataset=tmp_path / "dataset", recipe=str(tmp_path / "recipe.yaml"))


def artifacts_of(flow_name: str) -> dict[str, Any]:
    """Latest artifacts by key, and the names of the task runs, as the server has them."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/latest/filter", json={}).json()
        runs = client.request("POST", "/task_runs/filter", json={"limit": 200}).json()
    return {"artifacts": {a["key"]: a["data"] for a in found}, "tasks": [r["name"] for r in runs]}


def test_the_flow_makes_what_the_local_mode_makes(
    server: None, job: GenerateJob, tmp_path: Path
) -> None:
    from flows.generate import run_in_process

    counted: list[int] = []
    report = run_in_process(job, Stop(), counted.append)
    assert report.num_rows == 18 == sum(counted) and not report.failed
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=9), frames_per_shard=3)
    stop = Stop()
    local = job.model_copy(update={"dataset": other})
    generate(local, executor=SerialExecutor(stop), stop=stop)
    assert all_rows(job.dataset) == all_rows(other) and verify(job.dataset).accepted
    seen = artifacts_of("generate-variants")
    assert float(seen["artifacts"]["shards"]) == 100.0
    assert "fog" in str(seen["artifacts"]["variants"])
    shards = {shard.name for shard in job.plan().shards}
    assert shards <= set(seen["tasks"])  # a task is a shard
    assert run_in_process(job, Stop()).num_rows == 0  # and again: nothing to do


def test_side_by_side_is_the_same(server: None, job: GenerateJob) -> None:
    from flows.generate import run_in_process

    report = run_in_process(job.model_copy(update={"num_workers": 3}), Stop())
    assert report.num_rows == 18 and verify(job.dataset).accepted


def test_sigterm_finishes_the_batch_and_the_run_is_cancelled(
    server: None, job: GenerateJob
) -> None:
    from flows.generate import Session, run_with

    here = Session()
    sent: list[int] = []

    def once(_: int) -> None:
        if not sent:
            sent.append(1)
            threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGTERM)).start()
            time.sleep(0.3)

    main = threading.main_thread().ident
    assert main is not None
    here.on_rows = once
    state = run_with(here, job)
    assert state.is_cancelled() and here.report is not None and here.report.stopped
    assert 0 < here.report.num_rows < 18 or (job.dataset / "_partial").exists()
    assert verify(job.dataset).accepted and not list((job.dataset / "_claims").iterdir())


class Fails:
    """Work whose shards end as told."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors, self.calls = errors, 0

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return ShardReport(shard=shard, status="committed", num_rows=1)


def run_work(work: Fails) -> list[ShardReport]:
    from prefect import flow

    from flows.executor import PrefectExecutor

    @flow
    def one_shard() -> None:
        shard = Shard(table="variants/r/fog", number=0)
        reports.extend(PrefectExecutor().run([shard], work))

    reports: list[ShardReport] = []
    one_shard()
    return reports


def test_what_may_pass_is_tried_again(server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.executor.RETRY_DELAYS_SECONDS", [0, 0])
    work = Fails([OSError("stale file handle")])
    assert [r.status for r in run_work(work)] == ["committed"] and work.calls == 2


def test_what_was_raised_on_purpose_is_not_tried_again(server: None) -> None:
    work = Fails([NightrainError("frames are not there")])
    (report,) = run_work(work)
    assert report.status == "failed" and "frames are not there" in report.message
    assert work.calls == 1


def test_a_full_disk_ends_the_flow(server: None) -> None:
    with pytest.raises(DiskFull):
        run_work(Fails([DiskFull("full")]))


def test_failed_shards_fail_the_run_and_the_rest_is_there(server: None, job: GenerateJob) -> None:
    from flows.generate import Session, run_with

    path = job.dataset / Catalog(job.dataset).entries("frames")[0].rows.path
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    state = run_with(Session(), job)
    assert state.is_failed() and "2 shards failed" in str(state.message)
    assert len(all_rows(job.dataset)) == 12
