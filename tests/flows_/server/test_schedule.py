"""Schedules on a real server: runs that a work pool's worker starts, and runs of `serve`."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightrain.datasets.shards.verify import verify
from nightrain.flows.runtime import silent_runs
from support.flow_server import MARKS
from support.prefect_server import CLI, POOL, WORKER, PrefectServer, prefect_server, running
from support.processes import DEADLINE_S, wait_until
from support.synthetic import all_rows

pytestmark = MARKS


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as server:
        yield server


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def test_a_cron_schedule_has_runs_at_its_times(prefect: PrefectServer, dataset: Path) -> None:
    at_night = (
        "--cron",
        "30 2 * * *",
        "--timezone",
        "Asia/Tokyo",
        "--name",
        "cron",
        "--overlap",
        "skip",
    )
    made = prefect.nightrain("schedule", *at_night, "--work-pool", POOL, "generate", dataset)
    assert made.returncode == 0 and "30 2 * * * Asia/Tokyo" in made.stdout, made.stderr
    wait_until(lambda: prefect.runs("cron", "SCHEDULED"), "the scheduler makes runs")
    times = {run["expected_start_time"][11:19] for run in prefect.runs("cron", "SCHEDULED")}
    assert times == {"17:30:00"}  # UTC
    assert prefect.deployment("cron")["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    automations = prefect.post("/automations/filter", {})
    assert [found["name"] for found in automations] == [silent_runs.NAME]
    done = prefect.nightrain("doctor")
    assert done.returncode == 1, done.stdout
    assert f"the work pool '{POOL}' has no worker: run `prefect worker start" in one_line(done)
    prefect.delete("cron")


def test_a_worker_runs_a_chain_and_a_process_serves_a_flow_on_schedule(
    prefect: PrefectServer, dataset: Path, tmp_path: Path
) -> None:
    """Both wait for the same few seconds, which keeps the test short."""
    served, pooled = tmp_path / "served", tmp_path / "pooled"
    shutil.copytree(dataset, served)
    shutil.copytree(dataset, pooled)
    every = (CLI, "schedule", "--every", 10)
    with (
        running(prefect, "worker", *WORKER),
        running(prefect, "serve", *every, "generate", served) as serving,
    ):
        chain = ("generate", pooled, "--recipe", "weather", "then", "verify", pooled)
        made = prefect.nightrain("schedule", "--every", 10, "--work-pool", POOL, *chain)
        assert made.returncode == 0, made.stderr
        assert f"scheduled chain/pooled: every 10 s, on {prefect.url}" in made.stdout
        assert "waiting runs accumulate. Use at least --every 30" in one_line(made)
        wait_until(lambda: prefect.completed("pooled"), "a worker completes a chain")
        wait_until(lambda: prefect.completed("served"), "a served run completes")
        assert prefect.nightrain("doctor").returncode == 0
        os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C, which its runs receive as well
        assert serving.wait(DEADLINE_S) == 0, prefect.log("serve")
    assert prefect.deployment("served")["paused"] and not prefect.deployment("pooled")["paused"]
    (first, *_), (other, *_) = prefect.completed("pooled"), prefect.completed("served")
    assert first.startswith("generate-variants: ") and "; verify-dataset: accepted" in first
    assert other == "40 variants, 0 quarantined" and other in first
    assert all_rows(served) == all_rows(pooled) and verify(served).accepted
    assert all(run["auto_scheduled"] for run in prefect.runs("pooled", "COMPLETED"))
    prefect.delete("pooled")
