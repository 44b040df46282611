"""Two runs on one dataset share its shards, wait, or are skipped."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.io.process import Owner
from nightrain.datasets.shards.leases import Lease
from nightrain.flows.cli.console import exit_code
from nightrain.flows.runtime.shard_plan import final_state
from nightrain.pipelines.captions.job import CaptionJob, caption
from nightrain.pipelines.generate.job import GenerateJob
from nightrain.pipelines.ingest.job import IngestJob
from nightrain.pipelines.labels.job import LabelJob
from nightrain.pipelines.runs import one_run
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.processes import DEADLINE_S
from support.synthetic import all_rows


def run(dataset: Path, if_running: str, stop: Stop | None = None) -> RunReport:
    stop = stop or Stop()
    fields = {"dataset": dataset, "captioner": "metadata", "if_running": if_running}
    return caption(CaptionJob.model_validate(fields), executor=SerialExecutor(stop), stop=stop)


@pytest.fixture
def other(dataset: Path) -> Lease:
    """Another run on the dataset."""
    lease = Lease.take(dataset, one_run.LEASE)
    assert lease is not None
    return lease


@pytest.mark.parametrize("job", [GenerateJob, CaptionJob, LabelJob, IngestJob])
def test_every_job_of_shards_has_the_option(job: Any) -> None:
    assert job.model_fields["if_running"].default == "share"


@pytest.mark.parametrize("if_running", ["share", "wait", "skip"])
def test_a_run_alone_starts_at_once_and_leaves_no_lease(dataset: Path, if_running: str) -> None:
    assert run(dataset, if_running).num_rows == 10
    assert not list((dataset / "_leases").iterdir())


def test_sharing_starts_at_once(dataset: Path, other: Lease) -> None:
    assert run(dataset, "share").num_rows == 10
    assert other.path.exists()  # the other run's lease is its own


def test_a_skipped_run_says_so_and_is_no_failure(dataset: Path, other: Lease) -> None:
    report = run(dataset, "skip")
    assert "another run works on" in report.not_started and not all_rows(dataset, "captions")
    state = final_state(report, "captions")
    assert state.is_completed() and state.name == "Skipped" and exit_code(report, 143) == 0
    other.release()
    assert run(dataset, "skip").num_rows == 10


def test_a_waiting_run_starts_when_the_other_ends(
    dataset: Path, other: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_TRIES", 0.05)
    reports: list[RunReport] = []
    thread = threading.Thread(target=lambda: reports.append(run(dataset, "wait")), daemon=True)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive() and not all_rows(dataset, "captions")
    other.release()
    thread.join(DEADLINE_S)
    assert reports[0].num_rows == 10


def test_a_stop_ends_the_wait(dataset: Path, other: Lease) -> None:
    stop = Stop()
    threading.Timer(0.3, stop.request).start()
    assert run(dataset, "wait", stop).stopped and not all_rows(dataset, "captions")


def test_the_lease_of_a_dead_run_is_taken_over(dataset: Path, other: Lease) -> None:
    dead = replace(Owner.me(), pid=2**30)  # beyond the largest process number
    other.path.write_text(dead.token())
    assert run(dataset, "skip").num_rows == 10


def test_sharing_needs_no_lease(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Lease, "take", fail)
    with one_run._turn(dataset, "share", Stop()) as mine:
        assert mine
    with pytest.raises(PermissionError), one_run._turn(dataset, "skip", Stop()):
        pass
    with one_run._turn(dataset / "absent", "skip", Stop()) as mine:
        assert mine
