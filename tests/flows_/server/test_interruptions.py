"""Interrupted runs on a real server: restarts, kills, pauses, cancellations, in mid-run.

Each test disturbs a scheduled run in the middle of its shards, and compares the finished dataset
with one that was made locally without interruption.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.shards.verify import verify
from nightrain.flows.runtime.silent_runs import NAME
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.flow_server import MARKS
from support.prefect_server import CLI, POOL, WORKER, PrefectServer, kill, prefect_server, running
from support.processes import wait_until
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

pytestmark = [*MARKS, pytest.mark.campaign, pytest.mark.timeout(1800)]
NUM_SHARDS, NUM_VARIANTS = 16, 960
RECIPE = """
name: slow
depth: exact
size: [320, 192]
batch_size: 2
variants_per_frame: 10
conditions:
  night: {lowest: 0.2, highest: 0.8}
  rain: {lowest: 0.2, highest: 0.8}
"""
WITHIN_S = 30  # of silence, after which a run counts as dead


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as server:
        yield server


class SlowRuns:
    """Scheduled runs of 960 variants in 16 shards, long enough to be disturbed."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        self.server, self.dataset, self.recipe = server, folder / "slow", folder / "recipe.yaml"
        self._whole = folder / "whole"
        self.command = ("generate", self.dataset, "--recipe", self.recipe)
        ingest_synthetic(self.dataset, SyntheticSource(48), 6)
        self.recipe.write_text(RECIPE)

    @contextmanager
    def served(self, log: str) -> Iterator[None]:
        """Serve the runs within the block, one every 15 s."""
        with running(self.server, log, CLI, "schedule", "--every", 15, *self.command):
            yield

    def leave_to_workers(self, *options: object) -> None:
        """Leave the runs to the workers of the pool."""
        done = self.server.nightrain("schedule", "--work-pool", POOL, *options, *self.command)
        assert done.returncode == 0, done.stdout + done.stderr

    def num_shards(self) -> int:
        """Number of committed shards."""
        return len(list(self.dataset.glob("_manifest/variants/*/*/*.json")))

    def wait_for_active_run(self) -> dict[str, Any]:
        """Return a run that is in the middle of its shards."""
        wait_until(
            lambda: self.server.runs("slow", "RUNNING") and 2 <= self.num_shards() < 12,
            "a run makes shards",
        )
        return self.server.runs("slow", "RUNNING")[0]

    def wait_for_state(self, run: dict[str, Any], kind: str, limit_s: float) -> dict[str, Any]:
        """Wait until a run is in a type of state, and return it."""

        def found() -> list[dict[str, Any]]:
            return [r for r in self.server.runs("slow", kind) if r["id"] == run["id"]]

        wait_until(found, f"the run is {kind}", limit_s)
        return found()[0]

    def wait_for_all_shards(self) -> None:
        """Wait until all shards are committed."""
        wait_until(lambda: self.num_shards() == NUM_SHARDS, "all shards are committed", 10 * 60)

    def require_all(self) -> None:
        """Compare the dataset with one whose variants were made locally, without interruption."""
        stop = Stop()
        ingest_synthetic(self._whole, SyntheticSource(48), 6)
        job = GenerateJob(dataset=self._whole, recipe=str(self.recipe))
        generate(job, executor=SerialExecutor(stop), stop=stop)
        rows = all_rows(self.dataset)
        assert rows == all_rows(self._whole) and len(rows) == NUM_VARIANTS
        assert verify(self.dataset).accepted and not list((self.dataset / "_leases").iterdir())


@pytest.fixture
def slow(prefect: PrefectServer, tmp_path: Path) -> Iterator[SlowRuns]:
    yield SlowRuns(prefect, tmp_path)
    prefect.delete("slow")


def automation_firings(server: PrefectServer) -> list[dict[str, Any]]:
    """Events of automations that fired."""
    wanted = {"event": {"name": ["prefect.automation.triggered"]}}
    return server.post("/events/filter", {"filter": wanted})["events"]


def test_a_run_survives_a_restart_of_the_server(prefect: PrefectServer, slow: SlowRuns) -> None:
    with slow.served("restart"):
        slow.wait_for_active_run()
        prefect.kill()
        time.sleep(15)
        prefect.start()
        slow.wait_for_all_shards()
        wait_until(lambda: prefect.completed("slow"), "the run completes")
        assert prefect.completed("slow")[0] == f"{NUM_VARIANTS} variants, 0 quarantined"
        wait_until(lambda: len(prefect.completed("slow")) > 1, "the schedule continues")
    slow.require_all()


def test_another_worker_completes_what_a_killed_one_began(
    prefect: PrefectServer, slow: SlowRuns
) -> None:
    slow.leave_to_workers("--cron", "* * * * *")
    with running(prefect, "killed", *WORKER) as worker:
        slow.wait_for_active_run()
        kill(worker)
    with running(prefect, "other", *WORKER):
        slow.wait_for_all_shards()
        wait_until(lambda: prefect.completed("slow"), "the run completes")
    slow.require_all()


def test_a_cancelled_run_is_completed_by_the_next(prefect: PrefectServer, slow: SlowRuns) -> None:
    with slow.served("cancel"):
        run = slow.wait_for_active_run()
        prefect.set_state(run, "CANCELLING", "Cancelling")
        slow.wait_for_state(run, "CANCELLED", 240)
        assert slow.num_shards() < NUM_SHARDS
        wait_until(lambda: prefect.completed("slow"), "the next run completes")
    slow.require_all()
    assert "Traceback" not in prefect.log("cancel")
    assert not any("Traceback" in message for message in prefect.messages(run))


def test_a_paused_run_makes_nothing_until_it_is_resumed(
    prefect: PrefectServer, slow: SlowRuns
) -> None:
    with slow.served("pause"):
        run = slow.wait_for_active_run()
        prefect.pause("slow")  # so that no other run makes the shards meanwhile
        prefect.set_state(run, "PAUSED", "Paused", pause_timeout=_in_one_hour())
        slow.wait_for_state(run, "PAUSED", 60)
        wait_until(
            lambda: any("waiting after the batch" in m for m in prefect.messages(run)),
            "the run notices its pause",
        )
        time.sleep(5)  # the batch in progress ends
        before = files(slow.dataset)
        time.sleep(20)  # several batches of an active run
        assert files(slow.dataset) == before and slow.num_shards() < NUM_SHARDS
        prefect.post(f"/flow_runs/{run['id']}/resume", {})
        slow.wait_for_state(run, "COMPLETED", 10 * 60)
    slow.require_all()


def _in_one_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def files(dataset: Path) -> dict[str, int]:
    """Sizes of the rows of a dataset, finished and unfinished, by path."""
    return {
        str(p): p.stat().st_size for p in dataset.rglob("*") if p.suffix in (".parquet", ".arrow")
    }


def test_only_runs_that_died_are_crashed_by_the_automation(
    prefect: PrefectServer, slow: SlowRuns
) -> None:
    """A run whose process and worker were killed is found; completed runs are not touched."""
    slow.leave_to_workers()
    done = prefect.run("nightrain.flows.runtime.silent_runs", "--within", WITHIN_S)
    assert done.returncode == 0, done.stderr
    before = len(automation_firings(prefect))
    path = f"/deployments/{prefect.deployment('slow')['id']}/create_flow_run"
    prefect.post(path, {})
    with running(prefect, "dead", *WORKER) as worker:
        run = slow.wait_for_active_run()
        kill(worker)
    killed_s = time.monotonic()
    crashed = slow.wait_for_state(run, "CRASHED", WITHIN_S + 45)
    assert time.monotonic() - killed_s > WITHIN_S - 15  # since the last heartbeat
    assert "heartbeats stopped" in crashed["state"]["message"]

    prefect.post(path, {})
    with running(prefect, "alive", *WORKER):
        wait_until(lambda: prefect.completed("slow"), "another run completes", 10 * 60)
    time.sleep(WITHIN_S + 15)
    fired = automation_firings(prefect)[: len(automation_firings(prefect)) - before]
    assert [event["resource"]["prefect.resource.name"] for event in fired] == [NAME]
    assert run["id"] in str(fired[0]["payload"])
    slow.require_all()
