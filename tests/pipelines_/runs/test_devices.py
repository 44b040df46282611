"""All GPUs of a machine: which there are, and one worker process for each, with faked devices."""

import itertools
import os
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ignore_rows
from nightrain.pipelines.runs import devices
from nightrain.pipelines.runs.devices import on_side_stream, visible_devices
from nightrain.pipelines.runs.executors import (
    PlanOnly,
    ProcessExecutor,
    WorkFound,
    check_once,
    on_devices,
)
from nightrain.pipelines.runs.stop import Stop
from support.processes import DEADLINE_S

SHARDS = [Shard(table="variants/r/night", number=number) for number in range(6)]
DEVICES = ("0", "GPU-5a")


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 2, ("0", "1")),
        (None, 0, ()),
        ("", 0, ()),
        ("3,1", 2, ("3", "1")),
        (" 1 , 0 ", 2, ("1", "0")),
        ("0,-1,1", 1, ("0",)),
        ("-1", 0, ()),
        ("0,9", 1, ("0",)),  # torch sees one of them
        ("1,1", 2, ()),
        ("GPU-5a,MIG-7b", 2, ("GPU-5a", "MIG-7b")),
    ],
)
def test_devices_are_those_that_cuda_shows(
    given: str | None, count: int, expected: tuple[str, ...]
) -> None:
    environment = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert visible_devices(environment, lambda: count) == expected


@dataclass(frozen=True)
class Traced:
    """Work that records its process, device and time in a folder, one file per shard."""

    folder: Path

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        began = time.monotonic()
        time.sleep(0.3)
        line = f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']} {began} {time.monotonic()}"
        (self.folder / f"{shard.number}").write_text(line)
        return ShardReport(shard=shard, status="committed", num_rows=2)


def require_one_process_per_device(folder: Path) -> None:
    lines = [path.read_text().split() for path in sorted(folder.iterdir())]
    assert len(lines) == len(SHARDS)
    workers = {(pid, device) for pid, device, _, _ in lines}
    assert len(workers) == len({pid for pid, _ in workers}) == len(DEVICES)
    assert {device for _, device in workers} == set(DEVICES)
    for device in DEVICES:  # one task at a time
        times = sorted((float(a), float(b)) for _, d, a, b in lines if d == device)
        assert all(b <= a for (_, b), (a, _) in itertools.pairwise(times))


def test_each_device_has_one_worker_process(tmp_path: Path) -> None:
    executor = ProcessExecutor(7, devices=DEVICES)
    counted: list[int] = []
    reports = list(executor.run(SHARDS, Traced(tmp_path), counted.append))
    assert {report.shard for report in reports} == set(SHARDS)
    assert counted == [2] * len(SHARDS)
    require_one_process_per_device(tmp_path)


def test_threads_share_one_worker_process_per_device(tmp_path: Path) -> None:
    """As the tasks of a flow run do."""
    counted: list[int] = []
    with on_devices(Traced(tmp_path), DEVICES, Stop()) as work:
        threads = [threading.Thread(target=work, args=(s, counted.append)) for s in SHARDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counted == [2] * len(SHARDS)
    require_one_process_per_device(tmp_path)


def test_one_device_needs_no_other_process(tmp_path: Path) -> None:
    work = Traced(tmp_path)
    with on_devices(work, DEVICES[:1], Stop()) as placed:
        assert placed is work


def _until_stopped(shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
    from nightrain.pipelines.runs import stop as stopping

    while not stopping.current().interrupted:
        time.sleep(0.01)
    return ShardReport(shard=shard, status="stopped")


@pytest.mark.parametrize("how", ["request", "pause"])
def test_a_stop_or_pause_reaches_the_workers_of_devices(how: str) -> None:
    stop = Stop()
    with on_devices(_until_stopped, DEVICES, stop) as work:
        threading.Timer(0.2, getattr(stop, how)).start()
        began = time.monotonic()
        assert work(SHARDS[0]).status == "stopped"
    assert time.monotonic() - began < DEADLINE_S


def _require_first_device() -> None:
    if os.environ["CUDA_VISIBLE_DEVICES"] != DEVICES[0]:
        raise RuntimeError("another device")


def test_checks_before_a_run_use_a_worker_of_the_first_device() -> None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    check_once(ProcessExecutor(1, devices=DEVICES), _require_first_device)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_a_gpu_has_one_side_stream_that_is_waited_for_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []

    class Stream:
        def __init__(self, number: int) -> None:
            steps.append(f"stream of {number}")

        def synchronize(self) -> None:
            steps.append("waited")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext(steps.append("entered")))
    devices._side_stream.cache_clear()
    for name in ("cuda", "cuda:0", torch.device("cuda", 1)):
        with on_side_stream(name):
            steps.append("work")
    devices._side_stream.cache_clear()
    turn = ["entered", "work", "waited"]
    assert steps == ["stream of 0", *turn, *turn, "stream of 1", *turn]
    with on_side_stream("cpu"):
        steps.append("on a CPU")
    assert steps[-1] == "on a CPU"


def test_a_plan_does_not_check_on_devices_of_worker_processes() -> None:
    checked: list[int] = []
    check_once(PlanOnly(), lambda: checked.append(1))
    check_once(PlanOnly(("0",)), lambda: checked.append(2))
    with pytest.raises(WorkFound):
        check_once(PlanOnly(DEVICES), lambda: checked.append(3))
    assert checked == [1, 2]
