"""The flow on a real Prefect server: the rows of the local mode, small reports, clear states."""

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.errors import DiskFull, InvalidRequest, NightrainError, UnsuitableStorage
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ignore_rows
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.history.run_record import read_runs
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.flow_server import MARKS, artifacts, task_names
from support.processes import DEADLINE_S
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

pytestmark = MARKS

RECIPE = """
name: flow
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
  snow: {lowest: 0.2, highest: 0.8}
"""


@pytest.fixture
def job(tmp_path: Path) -> GenerateJob:
    ingest_synthetic(tmp_path / "dataset", SyntheticSource(num_frames=9), frames_per_shard=3)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return GenerateJob(dataset=tmp_path / "dataset", recipe=str(tmp_path / "recipe.yaml"))


def run_in_process(job: GenerateJob, on_rows: OnRows = ignore_rows) -> RunReport:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session, run_in_process

    return run_in_process(Session(on_rows=on_rows), generate_variants, job)


def test_the_flow_makes_what_the_local_mode_makes(
    server: None, job: GenerateJob, tmp_path: Path
) -> None:
    counted: list[int] = []
    report = run_in_process(job, counted.append)
    (recorded,) = read_runs(job.dataset).runs.values()
    assert recorded.flow_run_id and recorded.num_rows == 18
    assert report.num_rows == 18 == sum(counted) and not report.failed
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=9), frames_per_shard=3)
    stop = Stop()
    local = job.model_copy(update={"dataset": other})
    generate(local, executor=SerialExecutor(stop), stop=stop)
    assert all_rows(job.dataset) == all_rows(other) and verify(job.dataset).accepted
    seen = artifacts()
    assert float(seen["shards"]) == 100.0 and "fog" in str(seen["variants"])
    assert {shard.name for shard in job.plan().shards} <= task_names()  # a task is a shard
    assert run_in_process(job).num_rows == 0  # and again: nothing to do


def test_side_by_side_is_the_same(server: None, job: GenerateJob) -> None:
    report = run_in_process(job.model_copy(update={"num_workers": 3}))
    assert report.num_rows == 18 and verify(job.dataset).accepted


def test_sigterm_finishes_the_batch_and_the_run_is_cancelled(
    server: None, job: GenerateJob
) -> None:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    here: Session[RunReport] = Session()
    sent: list[int] = []

    def once(_: int) -> None:
        if not sent:
            sent.append(1)
            threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGTERM)).start()
            time.sleep(0.3)

    main = threading.main_thread().ident
    assert main is not None
    here.on_rows = once
    state = here.run(generate_variants, job)
    assert state.is_cancelled() and here.report is not None and here.report.stopped
    assert 0 < here.report.num_rows < 18 or (job.dataset / "_partial").exists()
    assert verify(job.dataset).accepted and not list((job.dataset / "_leases").iterdir())


def test_a_spent_budget_completes_the_run_and_the_next_one_resumes(
    server: None, job: GenerateJob
) -> None:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    here: Session[RunReport] = Session()
    state = here.run(generate_variants, job.model_copy(update={"budget": ("0.01s",)}))
    assert state.is_completed() and str(state.message).startswith("Budget spent (0.01s): ")
    assert not here.stop.requested  # so that the next step of a chain runs
    assert here.report is not None and here.report.num_left > 0
    assert run_in_process(job).num_rows == here.report.num_left


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

    from nightrain.flows.runtime.executor import PrefectExecutor

    @flow
    def one_shard() -> None:
        shard = Shard(table="variants/r/fog", number=0)
        reports.extend(PrefectExecutor().run([shard], work))

    reports: list[ShardReport] = []
    one_shard()
    return reports


def test_what_may_pass_is_tried_again(server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightrain.flows.runtime.executor.RETRY_DELAYS_SECONDS", [0, 0])
    work = Fails([OSError("stale file handle")])
    assert [r.status for r in run_work(work)] == ["committed"] and work.calls == 2


def test_an_error_of_the_disk_is_reported_in_words(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightrain.flows.runtime.executor.RETRY_DELAYS_SECONDS", [0, 0])
    work = Fails([PermissionError(13, "Permission denied", "/data/x") for _ in range(3)])
    (report,) = run_work(work)
    assert report.status == "failed" and report.message.startswith("/data/x: Permission denied")
    assert work.calls == 3


def test_what_was_raised_on_purpose_is_not_tried_again(server: None) -> None:
    work = Fails([NightrainError("frames are not there")])
    (report,) = run_work(work)
    assert report.status == "failed" and "frames are not there" in report.message
    assert work.calls == 1


def test_a_full_or_unsuitable_disk_ends_the_flow(server: None) -> None:
    with pytest.raises(DiskFull):
        run_work(Fails([DiskFull("full")]))
    with pytest.raises(UnsuitableStorage):
        run_work(Fails([UnsuitableStorage("no links")]))


def test_failed_shards_fail_the_run_and_the_rest_is_there(server: None, job: GenerateJob) -> None:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    path = job.dataset / Manifest(job.dataset).entries("frames")[0].rows.path
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    state = Session().run(generate_variants, job)
    assert state.is_failed() and "2 shards failed" in str(state.message)
    assert len(all_rows(job.dataset)) == 12


# The diffusion engine, and turns on its GPU


@pytest.fixture
def diffusion_job(tmp_path: Path) -> GenerateJob:
    from support.tiny_diffusion import write_recipe

    ingest_synthetic(tmp_path / "frames", SyntheticSource(num_frames=4), frames_per_shard=2)
    recipe = write_recipe(tmp_path)
    return GenerateJob(dataset=tmp_path / "frames", recipe=str(recipe))


@pytest.fixture
def limit(server: None) -> Iterator[str]:
    """A limit of one slot."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="gpu-a", limit=1))
        yield "gpu-a"
        client.delete_global_concurrency_limit_by_name("gpu-a")


def slots_held(limit: str) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit).active_slots


def test_the_diffusion_engine_draws_in_the_flow_what_it_draws_locally(
    diffusion_job: GenerateJob, limit: str, tmp_path: Path
) -> None:
    other, stop = tmp_path / "other", Stop()
    shutil.copytree(diffusion_job.dataset, other)
    local = diffusion_job.model_copy(update={"dataset": other})
    generate(local, executor=SerialExecutor(stop), stop=stop)

    held: set[int] = set()
    job = diffusion_job.model_copy(update={"gpu_limit": limit})
    report = run_in_process(job, lambda _: held.add(slots_held(limit)))
    assert report.num_rows == 8 and not report.failed
    assert all_rows(job.dataset) == all_rows(other) and verify(job.dataset).accepted
    assert held == {1} and slots_held(limit) == 0  # each shard held the slot and gave it back
    again = run_in_process(job)
    assert again.num_rows == 0 and again.num_already == 4


def test_a_limit_that_the_server_does_not_know_is_refused(
    server: None, diffusion_job: GenerateJob
) -> None:
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    job = diffusion_job.model_copy(update={"gpu_limit": "gpu-b"})
    with pytest.raises(InvalidRequest, match="prefect gcl create gpu-b --limit 1"):
        run_in_process(job)
    state = Session().run(generate_variants, job)
    assert state.is_failed() and "no global concurrency limit 'gpu-b'" in str(state.message)
    assert not all_rows(job.dataset)


def test_the_weather_engine_takes_no_turn_on_a_gpu(server: None, job: GenerateJob) -> None:
    assert run_in_process(job.model_copy(update={"gpu_limit": "gpu-b"})).num_rows == 18


def test_a_shard_waits_for_its_turn_and_hears_the_wish_to_stop(
    diffusion_job: GenerateJob, limit: str
) -> None:
    from prefect.concurrency.sync import concurrency

    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session

    here: Session[RunReport] = Session()
    threading.Timer(5.0, here.stop.request).start()
    with concurrency(limit, strict=True):  # as another machine would
        state = here.run(generate_variants, diffusion_job.model_copy(update={"gpu_limit": limit}))
    assert state.is_cancelled() and here.report is not None and not here.report.failed
    assert not all_rows(diffusion_job.dataset)
    assert not list((diffusion_job.dataset / "_leases").iterdir())  # others may take the shard


def test_a_turn_comes_when_the_other_ends(limit: str) -> None:
    from prefect.concurrency.sync import concurrency

    from nightrain.flows.runtime.gpu_limit import turn

    ended = threading.Event()

    def other() -> None:
        with concurrency(limit, strict=True):
            held.set()
            time.sleep(3.0)  # longer than one try
            ended.set()

    held = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(DEADLINE_S)
    with turn(limit, Stop()) as mine:
        assert mine and ended.is_set()
    thread.join()
    with pytest.raises(TimeoutError, match="of the work"), turn(limit, Stop()):
        raise TimeoutError("of the work")  # no try for another turn


def test_a_slot_that_a_slow_server_grants_late_is_not_lost(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot would stay occupied until its lease ends, and so would that of every next try."""
    import asyncio

    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

    from nightrain.flows.runtime.gpu_limit import turn

    send, send_async, slow = PrefectHttpxSyncClient.send, PrefectHttpxAsyncClient.send, 3.0

    def late(self: Any, request: Any, *rest: Any, **more: Any) -> Any:
        answer = send(self, request, *rest, **more)
        time.sleep(slow if "increment" in str(request.url) else 0)
        return answer

    async def late_async(self: Any, request: Any, *rest: Any, **more: Any) -> Any:
        answer = await send_async(self, request, *rest, **more)
        await asyncio.sleep(slow if "increment" in str(request.url) else 0)
        return answer

    monkeypatch.setattr(PrefectHttpxSyncClient, "send", late)
    monkeypatch.setattr(PrefectHttpxAsyncClient, "send", late_async)
    stop = Stop()
    threading.Timer(30.0, stop.request).start()
    with turn(limit, stop) as mine:
        assert mine and slots_held(limit) == 1
    assert slots_held(limit) == 0
