"""Executors: every shard gets one report, failures stay where they happen, a full disk ends all."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nightrain.datasets.errors import DiskFull, NightrainError, UnsuitableStorage
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import LABELS, VARIANTS
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    ignore_rows,
    keeps_places,
    make_shard,
)
from nightrain.pipelines.runs import waiting
from nightrain.pipelines.runs.executors import (
    Executor,
    ProcessExecutor,
    SerialExecutor,
    report_failure,
    run_plan,
)
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import variant_row

SHARDS = [Shard(table="variants/r/fog", number=number) for number in range(5)]


@dataclass(frozen=True)
class Commits:
    """Work that commits one row per shard; shard `fails` raises what it is told to."""

    root: Path
    fails: int = -1
    full: bool = False
    seconds: float = 0.0

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        time.sleep(self.seconds)
        if shard.number == self.fails:
            raise DiskFull("no space is left") if self.full else ValueError("a bad shard")

        def produce(_: object) -> Iterator[dict]:
            yield variant_row(shard.number)

        return make_shard(Manifest(self.root), shard, VARIANTS, {}, produce, on_rows)


@dataclass(frozen=True)
class Rejects:
    """Work on three frames, the last of which fails."""

    root: Path

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        of_labels = keeps_places(shard.table)

        def produce(_: object) -> Iterator[Row | Rejected]:
            for number in range(3):
                label: Row = {"frame_id": f"{number:020x}", "intrinsics": [1.0] * 9}
                if number < 2 or of_labels:  # a failed label is a row without depth
                    yield label if of_labels else variant_row(number)
            name = f"{2:020x}"
            yield Rejected({"sample_id": name, "frame_id": name, "reason": "gate:test"})

        schema = LABELS if of_labels else VARIANTS
        return make_shard(Manifest(self.root), shard, schema, {}, produce, on_rows)


@pytest.fixture(params=["serial", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return SerialExecutor() if request.param == "serial" else ProcessExecutor(2)


def run(root: Path, work: Commits, executor: Executor, counted: list[int]) -> list[ShardReport]:
    return list(run_plan(Manifest(root), SHARDS, work, executor, Stop(), counted.append))


def test_every_shard_is_reported_once(tmp_path: Path, executor: Executor) -> None:
    counted: list[int] = []
    reports = run(tmp_path, Commits(tmp_path), executor, counted)
    assert sorted(r.shard.number for r in reports) == [0, 1, 2, 3, 4]
    assert {r.status for r in reports} == {"committed"} and sum(counted) == 5
    assert run(tmp_path, Commits(tmp_path), executor, counted) == []


@pytest.mark.parametrize("table", ["variants/r/fog", "labels/t"])
def test_what_is_quarantined_counts_once(tmp_path: Path, executor: Executor, table: str) -> None:
    counted: list[int] = []
    shards = [Shard(table=table, number=number) for number in range(2)]
    work = Rejects(tmp_path)
    reports = list(run_plan(Manifest(tmp_path), shards, work, executor, Stop(), counted.append))
    assert [(r.message, sum(r.quarantined.values())) for r in reports] == [("", 1)] * 2
    assert sum(counted) == 2 * 3


def test_a_failing_shard_is_reported_and_the_others_are_made(
    tmp_path: Path, executor: Executor
) -> None:
    reports = run(tmp_path, Commits(tmp_path, fails=2), executor, [])
    failed = [r for r in reports if r.status == "failed"]
    assert [r.shard.number for r in failed] == [2] and "a bad shard" in failed[0].message
    assert len(Manifest(tmp_path).entries("variants/r/fog")) == 4


def test_a_full_disk_ends_the_run_at_once(tmp_path: Path, executor: Executor) -> None:
    work = Commits(tmp_path, fails=0, full=True, seconds=0.2)
    shards = [Shard(table="variants/r/fog", number=number) for number in range(20)]
    with pytest.raises(DiskFull):
        list(run_plan(Manifest(tmp_path), shards, work, executor, Stop()))
    assert len(Manifest(tmp_path).entries("variants/r/fog")) < 10  # what was in hand may end


def test_a_shard_of_another_process_is_waited_for_and_taken_over(tmp_path: Path) -> None:
    lease = Manifest(tmp_path).lease(SHARDS[1])
    assert lease is not None
    reports = run_plan(Manifest(tmp_path), SHARDS, Commits(tmp_path), SerialExecutor(), Stop())
    first = [next(reports).shard.number for _ in range(4)]
    assert first == [0, 2, 3, 4]
    lease.release()
    assert [r.shard.number for r in reports] == [1]


def test_a_run_says_for_what_and_on_whom_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "SAY_AFTER_SECONDS", 0.0)
    manifest = Manifest(tmp_path)
    leases = [manifest.lease(shard) for shard in SHARDS[1:3]]

    def release(_: waiting.Waiting) -> None:
        for lease in leases:
            assert lease is not None
            lease.release()

    monkeypatch.setattr(waiting.Waiting, "_sleep", release)
    reports = list(run_plan(manifest, SHARDS, Commits(tmp_path), SerialExecutor(), Stop()))
    assert len(reports) == 5
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1 and "waiting since" in said[0]
    assert f"for variants/r/fog/00001 and 1 other shard, held by process {os.getpid()}" in said[0]


def test_a_stop_ends_a_wait(tmp_path: Path) -> None:
    lease, stop = Manifest(tmp_path).lease(SHARDS[1]), Stop()
    assert lease is not None
    threading.Timer(0.3, stop.request).start()
    with lease:
        list(run_plan(Manifest(tmp_path), SHARDS[1:2], Commits(tmp_path), SerialExecutor(), stop))


def test_pauses_grow_and_what_has_been_said_is_said_again_each_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, pauses = [0.0], []
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        pauses.append(seconds)

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    wait, looks = waiting.Waiting(lambda: False), 0
    while clock[0] < 130.0:
        wait.pause(lambda: "for a shard")
        looks += 1
    assert len(caplog.records) == 3 and looks < 40 and max(pauses) <= waiting.STEP_SECONDS


def test_a_killed_worker_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NightrainError, match=r"worker process was killed.*fewer --workers"):
        list(run_plan(Manifest(tmp_path), SHARDS, _kill_worker, ProcessExecutor(2), Stop()))


def _kill_worker(_shard: Shard, _on_rows: OnRows = ignore_rows) -> ShardReport:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EXDEV])
def test_a_file_system_that_allows_no_commit_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(UnsuitableStorage):
        run(tmp_path, Commits(tmp_path), SerialExecutor(), [])


def test_an_error_of_the_system_is_reported_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refused)
        report = report_failure(SHARDS[0], _links, ignore_rows)
    assert report.status == "failed"
    assert report.message == "/a to /b: Permission denied. Check its permissions."


def _links(_shard: Shard, _on_rows: OnRows = ignore_rows) -> ShardReport:
    os.link("/a", "/b")
    raise AssertionError
