"""Schedules on a real server: runs that a work pool's worker starts, and runs of `serve`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightrain.datasets.shards.verify import verify
from nightrain.flows.runtime import silent_runs
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.flow_server import MARKS
from support.prefect_server import POOL, PrefectServer, kill, prefect_server, running
from support.processes import DEADLINE_S, wait_until
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

pytestmark = MARKS
CLI = "nightrain.flows.cli"
WORKER = ("prefect", "worker", "start", "--pool", POOL)
RECIPE = """
name: slow
depth: exact
size: [320, 192]
batch_size: 2
variants_per_frame: 20
conditions:
  night: {lowest: 0.2, highest: 0.8}
  rain: {lowest: 0.2, highest: 0.8}
"""


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as server:
        yield server


def command_line(server: PrefectServer, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `nightrain` with the server, to its end."""
    return subprocess.run(
        [sys.executable, "-m", CLI, *map(str, arguments)],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def completed(server: PrefectServer, name: str) -> list[str]:
    return [run["state"]["message"] for run in server.runs(name, "COMPLETED")]


def test_a_cron_schedule_has_runs_at_its_times(prefect: PrefectServer, dataset: Path) -> None:
    at_night = ("--cron", "30 2 * * *", "--timezone", "Asia/Tokyo", "--name", "cron")
    made = command_line(prefect, "schedule", *at_night, "--work-pool", POOL, "generate", dataset)
    assert made.returncode == 0 and "30 2 * * * Asia/Tokyo" in made.stdout, made.stderr
    wait_until(lambda: prefect.runs("cron", "SCHEDULED"), "the scheduler makes runs")
    times = {run["expected_start_time"][11:19] for run in prefect.runs("cron", "SCHEDULED")}
    assert times == {"17:30:00"}  # UTC
    automations = prefect.post("/automations/filter", {})
    assert [found["name"] for found in automations] == [silent_runs.NAME]
    done = command_line(prefect, "doctor")
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
        made = command_line(prefect, "schedule", "--every", 10, "--work-pool", POOL, *chain)
        assert made.returncode == 0, made.stderr
        assert f"scheduled chain/pooled: every 10 s, on {prefect.url}" in made.stdout
        wait_until(lambda: completed(prefect, "pooled"), "a worker completes a chain")
        wait_until(lambda: completed(prefect, "served"), "a served run completes")
        assert command_line(prefect, "doctor").returncode == 0
        os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C, which its runs receive as well
        assert serving.wait(DEADLINE_S) == 0, prefect.log("serve")
    assert prefect.deployment("served")["paused"] and not prefect.deployment("pooled")["paused"]
    (first, *_), (other, *_) = completed(prefect, "pooled"), completed(prefect, "served")
    assert first.startswith("generate-variants: ") and "; verify-dataset: accepted" in first
    assert other == "40 variants, 0 quarantined" and other in first
    assert all_rows(served) == all_rows(pooled) and verify(served).accepted
    assert all(run["auto_scheduled"] for run in prefect.runs("pooled", "COMPLETED"))
    prefect.delete("pooled")


# What interrupts a run in progress


@pytest.fixture
def slow(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset and a recipe of 1,920 variants in 16 shards."""
    ingest_synthetic(tmp_path / "slow", SyntheticSource(48), 6)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "slow", tmp_path / "recipe.yaml"


def num_shards(dataset: Path) -> int:
    return len(list(dataset.glob("_manifest/variants/*/*/*.json")))


def run_is_active(server: PrefectServer, dataset: Path) -> bool:
    """Whether a run is in the middle of its shards."""
    return bool(server.runs("slow", "RUNNING")) and 2 <= num_shards(dataset) < 12


def require_all(dataset: Path, recipe: Path, tmp_path: Path) -> None:
    """Compare a dataset with one whose variants were made locally, without interruption."""
    whole, stop = tmp_path / "whole", Stop()
    ingest_synthetic(whole, SyntheticSource(48), 6)
    job = GenerateJob(dataset=whole, recipe=str(recipe))
    generate(job, executor=SerialExecutor(stop), stop=stop)
    assert all_rows(dataset) == all_rows(whole) and len(all_rows(dataset)) == 1920
    assert verify(dataset).accepted and not list((dataset / "_leases").iterdir())


@pytest.mark.campaign
def test_a_run_survives_a_restart_of_the_server(
    prefect: PrefectServer, slow: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset, recipe = slow
    command = ("generate", dataset, "--recipe", recipe)
    with running(prefect, "restart", CLI, "schedule", "--every", 5, *command):
        wait_until(lambda: run_is_active(prefect, dataset), "a run makes shards")
        prefect.kill()
        time.sleep(15)
        prefect.start()
        wait_until(lambda: num_shards(dataset) == 16, "all shards are committed")
        wait_until(lambda: completed(prefect, "slow"), "the run completes")
        assert completed(prefect, "slow")[0] == "1920 variants, 0 quarantined"
        wait_until(lambda: len(completed(prefect, "slow")) > 1, "the schedule continues")
    require_all(dataset, recipe, tmp_path)
    prefect.delete("slow")


@pytest.mark.campaign
def test_another_worker_completes_what_a_killed_one_began(
    prefect: PrefectServer, slow: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset, recipe = slow
    command = ("--work-pool", POOL, "generate", dataset, "--recipe", recipe)
    assert command_line(prefect, "schedule", "--cron", "* * * * *", *command).returncode == 0
    with running(prefect, "killed", *WORKER) as worker:
        wait_until(lambda: run_is_active(prefect, dataset), "a run makes shards")
        kill(worker)
    with running(prefect, "other", *WORKER):
        wait_until(lambda: num_shards(dataset) == 16, "all shards are committed", 10 * 60)
    require_all(dataset, recipe, tmp_path)
    prefect.delete("slow")


@pytest.mark.campaign
def test_a_cancelled_run_is_completed_by_the_next(
    prefect: PrefectServer, slow: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset, recipe = slow
    command = ("generate", dataset, "--recipe", recipe)
    with running(prefect, "cancel", CLI, "schedule", "--every", 5, *command):
        wait_until(lambda: run_is_active(prefect, dataset), "a run makes shards")
        (run,) = prefect.runs("slow", "RUNNING")
        cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        prefect.post(f"/flow_runs/{run['id']}/set_state", cancelling)
        wait_until(lambda: prefect.runs("slow", "CANCELLED"), "the run is cancelled")
        assert num_shards(dataset) < 16
        wait_until(lambda: completed(prefect, "slow"), "the next run completes")
    require_all(dataset, recipe, tmp_path)
    prefect.delete("slow")
