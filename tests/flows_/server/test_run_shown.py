"""What a run shows on a real server: name, tags, logs, events, report; and how it is controlled."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.transaction import (
    OnRows,
    ShardInterrupted,
    ShardReport,
    ignore_rows,
)
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.run import RunReport
from support.flow_server import MARKS, artifacts
from support.processes import DEADLINE_S
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

pytestmark = MARKS

RECIPE = """
name: shown
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
"""


class WithoutDepth(SyntheticSource):
    """Frames of which one has no depth."""

    def load(self, ref: Any) -> Any:
        from dataclasses import replace

        frame = super().load(ref)
        return replace(frame, exact_depth_m=None) if ref.source_id == "1" else frame


@pytest.fixture
def job(tmp_path: Path) -> GenerateJob:
    ingest_synthetic(tmp_path / "streets", WithoutDepth(num_frames=6), frames_per_shard=3)
    (tmp_path / "shown.yaml").write_text(RECIPE)
    return GenerateJob(dataset=tmp_path / "streets", recipe=str(tmp_path / "shown.yaml"))


def ask(path: str, **body: Any) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.request("POST", path, json=body).json()


def latest_run() -> dict[str, Any]:
    return ask("/flow_runs/filter", sort="START_TIME_DESC", limit=1)[0]


def eventually(read: Callable[[], list[Any]]) -> list[Any]:
    """What arrives within the deadline; logs and events are sent in the background."""
    end = time.monotonic() + DEADLINE_S
    while not (found := read()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def test_a_run_says_what_it_makes(server: None, job: GenerateJob) -> None:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    logging.getLogger("prefect").setLevel(logging.INFO)  # the fixture silences it
    try:
        state = Session().run(generate_variants, job)
    finally:
        logging.getLogger("prefect").setLevel(logging.ERROR)
    named, table = job.title.partition(" ")[0], job.plan().shards[0].table
    assert state.is_failed() and "1 no_depth (the frame has no usable depth" in str(state.message)

    run = latest_run()
    assert run["name"] == f"{named} on streets"
    assert set(run["tags"]) == {"shown", named, "fog", "synthetic"}

    report = artifacts()["variants"]
    assert report.startswith(f"# {named} on streets") and "data:image/jpeg;base64," in report
    assert f"| {table} | 2 | 5 | 1 |" in report and job.recipe_hash in report
    assert f"| {table} | no_depth | 1 | the frame has no usable depth |" in report

    def logs() -> list[str]:
        wanted = {"flow_run_id": {"any_": [run["id"]]}}
        lines = [log["message"] for log in ask("/logs/filter", logs=wanted, limit=200)]
        return lines if any("Finished in state Failed" in line for line in lines) else []

    lines = eventually(logs)
    assert any(f"{table}/00001: committed 3 rows" in line for line in lines)
    assert any("quarantined 1 rows for no_depth" in line for line in lines)
    assert any(job.recipe_hash in line for line in lines)

    def events() -> list[dict[str, Any]]:
        named = {"event": {"prefix": ["nightrain."]}}
        found = ask("/events/filter", filter=named, limit=50)["events"]
        here = [e for e in found if str(job.dataset) in str(e)]
        return here if len(here) == 4 else []

    found = eventually(events)
    kinds = sorted(event["event"] for event in found)
    of_dataset = ["nightrain.dataset.grown", "nightrain.quarantine.exceeded"]
    assert kinds == [*of_dataset, *2 * ["nightrain.shard.committed"]]
    resources = {event["event"]: event["resource"] for event in found}
    labels = {"nightrain.flow": "generate-variants", "nightrain.rows.variants": "5"}
    assert labels.items() <= resources["nightrain.dataset.grown"].items()
    (exceeded,) = (e for e in found if e["event"] == "nightrain.quarantine.exceeded")
    assert exceeded["payload"]["message"] == state.message
    ids = {event["resource"]["prefect.resource.id"] for event in found}
    assert f"nightrain.shard.streets/{table}/00001" in ids
    assert f"nightrain.dataset.{job.dataset}" in ids
    assert all(f"prefect.flow-run.{run['id']}" in str(event["related"]) for event in found)

    def ends() -> list[dict[str, Any]]:
        wanted = {
            "event": {"name": ["nightrain.flow-run.ended"]},
            "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
        }
        return ask("/events/filter", filter=wanted)["events"]

    (end,) = eventually(ends)
    assert end["follows"] is None  # so that it is not held back until other events arrive


class Batches:
    """Shards of three batches, which note how they went and may be interrupted between two."""

    def __init__(self, at_batch: Callable[[int], None]) -> None:
        self.at_batch, self.num_done, self.calls = at_batch, 0, 0

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        self.calls += 1
        try:
            while self.num_done < 3:
                stopping.interrupt_if_stopped()
                self.at_batch(self.num_done)
                self.num_done += 1
        except ShardInterrupted:
            return ShardReport(shard=shard, status="stopped", num_rows=self.num_done)
        return ShardReport(shard=shard, status="committed", num_rows=3)


class Job:
    """A job of one shard."""

    title, tags = "batches on streets", ("batches",)

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset


def flow_of(work: Batches, dataset: Path) -> Any:
    from prefect import flow

    from nightrain.flows.runtime.shard_plan import run_shards
    from nightrain.pipelines.runs.run import run

    def make(*, executor: Any, stop: Any, on_planned: Any, on_rows: Any) -> RunReport:
        shards = [Shard(table="variants/r/fog", number=0)]
        return run(dataset, shards, work, executor=executor, stop=stop, on_rows=on_rows)

    @flow(name="batches", persist_result=False)
    def batches(job: str) -> Any:
        return run_shards(Job(dataset), make, "variants")

    return batches


def set_state(kind: str, name: str) -> None:
    state = {"type": kind, "name": name}
    ask(f"/flow_runs/{latest_run()['id']}/set_state", state=state, force=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightrain.flows.runtime.control.SECONDS_BETWEEN_LOOKS", 0.1)


def task_states() -> list[str]:
    wanted = {"flow_run_id": {"any_": [latest_run()["id"]]}}
    return sorted(t["state"]["name"] for t in ask("/task_runs/filter", task_runs=wanted))


def test_a_paused_run_waits_between_batches(server: None, dataset: Path, quick: None) -> None:
    from nightrain.flows.runtime.session import Session

    here: Session[RunReport] = Session()
    done_at_pause: list[int] = []

    def resume() -> None:
        while not here.stop.paused or work.calls < 1:
            time.sleep(0.05)
        time.sleep(1.0)
        done_at_pause.append(work.num_done)
        set_state("RUNNING", "Running")

    def at_batch(number: int) -> None:
        if number == 1 and not here.stop.paused and not done_at_pause:
            set_state("PAUSED", "Paused")
            threading.Thread(target=resume, daemon=True).start()
            end = time.monotonic() + DEADLINE_S
            while not here.stop.paused and time.monotonic() < end:
                time.sleep(0.05)

    work = Batches(at_batch)
    state = here.run(flow_of(work, dataset), "j")
    assert state.is_completed() and done_at_pause == [2]  # the batch in progress was finished
    assert work.calls == 2 and here.report is not None and here.report.num_rows == 3
    assert eventually(lambda: task_states() if len(task_states()) == 2 else []) == [
        "Cancelled",
        "Completed",
    ]


def test_a_run_cancelled_on_the_server_ends_between_batches(
    server: None, dataset: Path, quick: None
) -> None:
    from nightrain.flows.runtime.session import Session

    here: Session[RunReport] = Session()

    def at_batch(number: int) -> None:
        if number == 1:
            set_state("CANCELLING", "Cancelling")
            end = time.monotonic() + DEADLINE_S
            while not here.stop.requested and time.monotonic() < end:
                time.sleep(0.05)

    work = Batches(at_batch)
    state = here.run(flow_of(work, dataset), "j")
    assert state.is_cancelled() and work.num_done == 2
    assert here.report is not None and here.report.stopped
    assert eventually(task_states) == ["Cancelled"]
    assert verify(dataset).accepted and not all_rows(dataset)
