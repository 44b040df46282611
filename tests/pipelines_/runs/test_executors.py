"""Executors: every shard gets one report, failures stay where they happen, a full disk ends all."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nightrain.datasets.errors import DiskFull
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.schema import VARIANTS
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ignore_rows, make_shard
from nightrain.pipelines.runs.executors import Executor, ProcessExecutor, SerialExecutor, run_plan
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
