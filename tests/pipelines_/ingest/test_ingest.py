"""Ingestion: planned once, resumed, and damaged frames set aside with a reason."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.frame_plan import bad_frames, read_plans
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.ingest.ingest_shard import plan_ingest
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic


def run_ingest(
    root: Path,
    source: SyntheticSource,
    *,
    retry_failed: bool = False,
    allow_shared_logs: bool = False,
) -> RunReport:
    stop = Stop()
    return ingest_frames(
        root,
        source,
        source.select("all"),
        {},
        executor=SerialExecutor(stop),
        stop=stop,
        retry_failed=retry_failed,
        allow_shared_logs=allow_shared_logs,
    )


def test_frames_survive(tmp_path: Path) -> None:
    source = SyntheticSource(num_frames=5)
    run_ingest(tmp_path, source)
    rows = all_rows(tmp_path, FRAMES)
    for index in range(5):
        frame, row = source.load(source.ref(index)), rows[source.ref(index).frame_id]
        back = frame_from_row(row)
        assert back.image == frame.image and back.timestamp_us == frame.timestamp_us
        assert (back.intrinsics == frame.intrinsics).all()
        assert back.lidar_depth_m is not None and frame.lidar_depth_m is not None
        assert abs(back.lidar_depth_m - frame.lidar_depth_m).max() <= 1 / 512
    assert (tmp_path / "README.md").read_text().startswith("---\nlicense: apache-2.0")


def test_a_damaged_frame_is_set_aside_and_the_others_are_unchanged(tmp_path: Path) -> None:
    run_ingest(tmp_path / "good", SyntheticSource(num_frames=6))
    bad = SyntheticSource(num_frames=6, damaged=frozenset({1, 4}))
    report = run_ingest(tmp_path / "bad", bad)
    assert report.num_rows == 4 and report.tables[FRAMES].quarantined == {"undecodable_image": 2}
    rows = all_rows(tmp_path / "bad", FRAMES)
    assert rows.items() <= all_rows(tmp_path / "good", FRAMES).items()
    assert verify(tmp_path / "bad").accepted
    assert [(f.source_id, f.reason, f.earlier) for f in report.bad_frames] == [
        ("1", "undecodable_image", False),
        ("4", "undecodable_image", False),
    ]
    assert "frame 4 is damaged" in report.bad_frames[1].message


def test_retrying_reads_what_was_mended(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(num_frames=6, damaged=frozenset({1, 4})))
    half = SyntheticSource(num_frames=6, damaged=frozenset({4}))
    report = run_ingest(tmp_path, half, retry_failed=True)
    assert report.num_rows == 1
    assert [(f.source_id, f.earlier) for f in report.bad_frames] == [("4", False)]  # tried again
    mended = SyntheticSource(num_frames=6)
    report = run_ingest(tmp_path, mended)
    assert report.num_rows == 0  # not unless asked to
    assert [(f.source_id, f.earlier) for f in report.bad_frames] == [("4", True)]
    report = run_ingest(tmp_path, mended, retry_failed=True)
    assert report.num_rows == 1 and report.bad_frames == []
    assert run_ingest(tmp_path, mended, retry_failed=True).num_rows == 0
    assert len(all_rows(tmp_path, FRAMES)) == 6 and verify(tmp_path).accepted


def test_a_plan_is_written_once(tmp_path: Path) -> None:
    source = SyntheticSource(num_frames=6)
    ingest_synthetic(tmp_path, source, frames_per_shard=2)
    ingest_synthetic(tmp_path, source, frames_per_shard=3)  # the first plan stands
    (plan,) = read_plans(tmp_path)
    assert [len(shard.frame_ids) for shard in plan.shards] == [2, 2, 2]


def test_other_frames_are_added_behind(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=6))
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=3, split="val"))
    entries = Manifest(tmp_path).entries(FRAMES)
    assert [e.shard.number for e in entries] == [0, 1, 2]
    assert [e.about["split"] for e in entries] == ["train", "train", "val"]
    assert len(all_rows(tmp_path, FRAMES)) == 9


def test_shards_never_mix_conditions(tmp_path: Path) -> None:
    class Mixed(SyntheticSource):
        def ref(self, index):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            condition = Condition.RAIN if index % 3 == 0 else Condition.CLEAR
            return replace(super().ref(index), condition=condition)

    plan = plan_ingest(tmp_path, Mixed(9), Mixed(9).select("all"), {}, frames_per_shard=4)
    assert [(s.condition, len(s.frame_ids)) for s in plan.shards] == [
        ("clear", 4),
        ("clear", 2),
        ("rain", 3),
    ]


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--split all"):
        run_ingest(tmp_path, SyntheticSource(num_frames=0))


def test_bad_frames_of_others_are_not_reported(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(num_frames=3, damaged=frozenset({1})))
    report = run_ingest(tmp_path, SyntheticSource(num_frames=3, split="none", name="other"))
    assert report.num_rows == 3 and report.bad_frames == []
    assert [f.source_id for f in bad_frames(tmp_path, "synthetic").values()] == ["1"]


def test_train_and_val_of_one_scene_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(num_frames=3))
    with pytest.raises(InvalidRequest, match=r"scene-0000 of synthetic is also held out"):
        run_ingest(tmp_path, SyntheticSource(num_frames=3, split="val"))
    assert len(read_plans(tmp_path)) == 1 and len(all_rows(tmp_path, FRAMES)) == 3
    run_ingest(tmp_path, SyntheticSource(num_frames=3))  # the same frames again: no overlap


@dataclass(frozen=True)
class OneLog(SyntheticSource):
    """Scenes of their own in a log that train and val share."""

    own_splits: bool = True

    def ref(self, index: int) -> FrameRef:
        return replace(super().ref(index), scene_id=f"{self.split}-{index}", log_id="log")


def test_own_splits_share_a_log_only_where_that_is_said(tmp_path: Path) -> None:
    run_ingest(tmp_path, OneLog(2))
    with pytest.raises(InvalidRequest, match="--allow-shared-logs"):
        run_ingest(tmp_path, OneLog(2, split="val"))
    report = run_ingest(tmp_path, OneLog(2, split="val"), allow_shared_logs=True)
    assert report.num_rows == 2 and "shared logs are allowed" in report.warnings[0]


def test_published_splits_may_share_a_log_and_that_is_said(tmp_path: Path) -> None:
    run_ingest(tmp_path, OneLog(2, name="nuscenes", own_splits=False))
    report = run_ingest(tmp_path, OneLog(2, name="nuscenes", own_splits=False, split="val"))
    assert report.num_rows == 2 and "published splits share this log" in report.warnings[0]


@dataclass(frozen=True)
class Counting(SyntheticSource):
    """A source that notes in a file each time that a process opens it."""

    opened: Path = Path()

    def __reduce__(self) -> tuple:
        return open_counting, (self.num_frames, self.damaged, self.opened)


def open_counting(num_frames: int, damaged: frozenset[int], opened: Path) -> Counting:
    with opened.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Counting(num_frames, damaged=damaged, opened=opened)


def test_workers_read_the_same_rows_and_open_the_source_once(tmp_path: Path) -> None:
    source = Counting(40, damaged=frozenset({3, 30}), opened=tmp_path / "opened")
    run_ingest(tmp_path / "serial", source)
    assert not source.opened.exists()
    root, stop, refs = tmp_path / "parallel", Stop(), source.select("all")
    plan_ingest(root, source, refs, {}, frames_per_shard=4)  # ten shards
    executor = ProcessExecutor(2, stop)
    report = ingest_frames(root, source, refs, {}, executor=executor, stop=stop)
    assert report.num_rows == 38 and report.tables[FRAMES].num_shards == 10
    assert [f.source_id for f in report.bad_frames] == ["3", "30"]
    assert all_rows(root, FRAMES) == all_rows(tmp_path / "serial", FRAMES)
    processes = source.opened.read_text().split()
    assert len(set(processes)) == len(processes) <= 2
    assert not list((root / "_tmp").iterdir()) and verify(root).orphans == []


def test_a_source_that_a_worker_cannot_open_fails_its_shards_and_no_more(tmp_path: Path) -> None:
    source, stop = Counting(4, opened=tmp_path / "no folder" / "opened"), Stop()
    executor, root = ProcessExecutor(1, stop), tmp_path / "out"
    report = ingest_frames(root, source, source.select("all"), {}, executor=executor, stop=stop)
    assert report.num_rows == 0 and "No such file or directory" in report.failed[0]
    assert run_ingest(root, source).num_rows == 4


@pytest.mark.slow
def test_two_commands_at_once_read_every_frame_once(tmp_path: Path) -> None:
    """Two processes with two workers each on one dataset; one is killed on the way."""
    code = (
        "import sys; from pathlib import Path; from test_ingest import at_once; "
        "at_once(Path(sys.argv[1]))"
    )
    plan_ingest(tmp_path, SLOW, SLOW.select("all"), {}, frames_per_shard=3)  # 20 shards
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    while len(Manifest(tmp_path).entries(FRAMES)) < 2:
        assert runs[0].poll() is None
        time.sleep(0.02)
    runs[0].kill()
    assert [run.wait() for run in runs] == [-signal.SIGKILL, 0]
    rows = all_rows(tmp_path, FRAMES)  # fails on a key that is there twice
    assert set(rows) == {ref.frame_id for ref in SLOW.select("all")}
    report = verify(tmp_path)
    assert report.accepted and report.orphans == [] and report.num_shards == 20


@dataclass(frozen=True)
class Slow(SyntheticSource):
    def load(self, ref: FrameRef) -> Frame:
        time.sleep(0.01)
        return super().load(ref)


SLOW = Slow(60)


def at_once(root: Path) -> None:
    stop = Stop()
    executor = ProcessExecutor(2, stop)
    ingest_frames(root, SLOW, SLOW.select("all"), {}, executor=executor, stop=stop)
