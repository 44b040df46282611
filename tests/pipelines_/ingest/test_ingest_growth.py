"""A source that has grown: what is new is appended, and nothing that exists changes."""

import pickle
import time
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, PlanMismatch
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.io.record import read_record
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.ingest import ingest_shard
from nightrain.pipelines.ingest.ingest_shard import ingest_work, plan_ingest
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.ingest.worker_source import Listing, shared_with_workers
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.processes import start, wait_until
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

OPTIONS = {"split": "train", "neighbours": "true"}


def run_ingest(
    root: Path,
    source: SyntheticSource,
    options: dict[str, str] = OPTIONS,
    *,
    without: Set[int] = frozenset(),
    gone: Set[str] = frozenset(),
    retry_failed: bool = False,
) -> RunReport:
    stop = Stop()
    return ingest_frames(
        root,
        source,
        [ref for ref in source.select("all") if int(ref.source_id) not in without],
        options,
        executor=SerialExecutor(stop),
        stop=stop,
        gone=gone,
        retry_failed=retry_failed,
    )


def planned(root: Path, source: SyntheticSource, frames_per_shard: int) -> None:
    """Plan the frames of a source and read none."""
    root.mkdir(exist_ok=True)
    refs = source.select("all")
    plan_ingest(root, source, refs, OPTIONS, frames_per_shard=frames_per_shard)


def files(root: Path) -> dict[str, bytes]:
    """Everything that a reader or a later run relies on."""
    tops = ("frames", "_manifest", "_plan", "quarantine")
    found = [path for top in tops for path in (root / top).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def ids_of(root: Path, source: SyntheticSource) -> list[list[int]]:
    """Source ids by shard, in order."""
    number_of = {source.ref(i).frame_id: i for i in range(source.num_frames)}
    manifest = Manifest(root)
    return [
        [number_of[row["frame_id"]] for row in manifest.reader(entry.rows).rows(["frame_id"])]
        for entry in manifest.entries(FRAMES)
    ]


def test_new_frames_get_shards_of_their_own_behind_the_others(tmp_path: Path) -> None:
    planned(tmp_path, SyntheticSource(6), frames_per_shard=4)
    run_ingest(tmp_path, SyntheticSource(6))
    before = files(tmp_path)
    report = run_ingest(tmp_path, SyntheticSource(9))
    assert report.num_rows == 3 and report.num_already == 2 and report.warnings == []
    assert before.items() <= files(tmp_path).items()
    assert ids_of(tmp_path, SyntheticSource(9)) == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    assert [plan.options for plan in read_plans(tmp_path)] == [OPTIONS, OPTIONS]
    after = files(tmp_path)
    again = run_ingest(tmp_path, SyntheticSource(9))
    assert again.num_rows == 0 and again.num_already == 3 and files(tmp_path) == after
    assert verify(tmp_path).accepted


def test_frames_that_appear_between_others_are_appended(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(8), without={1, 2, 5})
    report = run_ingest(tmp_path, SyntheticSource(8), without={5})
    assert report.num_rows == 2
    assert ids_of(tmp_path, SyntheticSource(8)) == [[0, 3, 4, 6, 7], [1, 2]]


def test_the_rows_are_those_of_one_ingestion(tmp_path: Path) -> None:
    for number in (2, 5, 9):
        run_ingest(tmp_path / "grown", SyntheticSource(number))
    run_ingest(tmp_path / "at once", SyntheticSource(9))
    assert all_rows(tmp_path / "grown", FRAMES) == all_rows(tmp_path / "at once", FRAMES)


def test_a_plan_without_rows_is_read_when_the_source_has_grown(tmp_path: Path) -> None:
    planned(tmp_path, SyntheticSource(6), frames_per_shard=4)  # killed before the first row
    report = run_ingest(tmp_path, SyntheticSource(8))
    assert report.num_rows == 8 and report.num_already == 0
    assert ids_of(tmp_path, SyntheticSource(8)) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_frames_that_vanished_keep_their_rows_and_are_reported(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(6))
    before = files(tmp_path)
    report = run_ingest(tmp_path, SyntheticSource(8), without={0, 1})
    assert report.num_rows == 2 and report.bad_frames == []
    (warning,) = report.warnings
    assert "2 frames in" in warning and "no longer listed" in warning
    assert before.items() <= files(tmp_path).items() and len(all_rows(tmp_path, FRAMES)) == 8


def test_frames_that_vanished_unread_are_set_aside_once_that_is_certain(tmp_path: Path) -> None:
    planned(tmp_path, SyntheticSource(8), frames_per_shard=4)
    vanished = {4, 5, 6, 7, 1}
    report = run_ingest(tmp_path, SyntheticSource(9), without=vanished)
    assert report.num_rows == 1 and report.bad_frames == []  # they may be newer than this listing
    assert "5 planned frames were not read" in report.warnings[0]

    gone = {SyntheticSource(9).ref(i).frame_id for i in vanished}
    report = run_ingest(tmp_path, SyntheticSource(9), without=vanished, gone=gone)
    assert report.num_rows == 3
    assert {(f.frame_id, f.reason, f.message) for f in report.bad_frames} == {
        (frame_id, "missing_file", "the source no longer lists this frame") for frame_id in gone
    }
    back = run_ingest(tmp_path, SyntheticSource(9), retry_failed=True)
    assert back.num_rows == 5 and len(all_rows(tmp_path, FRAMES)) == 9
    assert back.bad_frames == [] and back.warnings == [] and verify(tmp_path).accepted


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({**OPTIONS, "split": "all"}, r"--split \(first train, now all\)"),
        ({**OPTIONS, "neighbours": "false"}, r"--neighbours \(first true, now false\)"),
        ({**OPTIONS, "kb_crop": "true"}, r"--kb-crop \(first absent, now true\)"),
        (
            {"split": "all", "neighbours": "false"},
            r"--split \(first train, now all\), --neighbours",
        ),
    ],
)
def test_other_options_are_refused_by_name(
    tmp_path: Path, options: dict[str, str], difference: str
) -> None:
    run_ingest(tmp_path, SyntheticSource(6))
    run_ingest(tmp_path, SyntheticSource(7))
    before = files(tmp_path)
    with pytest.raises(PlanMismatch, match=rf"6 of the 9 listed frames.*{difference}"):
        run_ingest(tmp_path, SyntheticSource(9), options)
    assert files(tmp_path) == before


def test_frames_of_another_split_are_refused_even_with_equal_options(tmp_path: Path) -> None:
    planned(tmp_path, SyntheticSource(6), frames_per_shard=4)
    source = SyntheticSource(6)
    refs = [replace(ref, split="test") for ref in source.select("all")]
    with pytest.raises(PlanMismatch, match=r"6 frames.*train/clear and is now test/clear"):
        plan_ingest(tmp_path, source, refs, OPTIONS)


def test_two_sources_grow_in_turn(tmp_path: Path) -> None:
    for number in (2, 3, 7):
        run_ingest(tmp_path, SyntheticSource(number))
        run_ingest(tmp_path, SyntheticSource(number, name="other"), {"split": "all"})
    entries = Manifest(tmp_path).entries(FRAMES)
    assert [entry.about["source"] for entry in entries] == ["synthetic", "other"] * 3
    assert [entry.shard.number for entry in entries] == list(range(6))
    assert len(all_rows(tmp_path, FRAMES)) == 14


def test_a_frame_is_retried_by_one_plan_only(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(6, damaged=frozenset({1, 4})))
    source = SyntheticSource(6)
    refs = source.select("all")
    plan_ingest(tmp_path, source, refs, OPTIONS, again=True)  # killed before the first row
    run_ingest(tmp_path, SyntheticSource(9, damaged=frozenset({1, 7})))  # the source has grown
    report = run_ingest(tmp_path, SyntheticSource(9), retry_failed=True)
    assert report.num_rows == 3 and report.bad_frames == []
    assert len(all_rows(tmp_path, FRAMES)) == 9 and verify(tmp_path).accepted
    again = run_ingest(tmp_path, SyntheticSource(9), retry_failed=True)
    assert again.num_rows == 0 and [plan.retry for plan in read_plans(tmp_path)] == [
        False,
        True,
        False,
        True,
    ]


def test_a_retry_that_was_killed_does_not_hold_its_frames_for_ever(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(6, damaged=frozenset({1, 4})))
    source = SyntheticSource(6)
    plan_ingest(tmp_path, source, source.select("all"), OPTIONS, again=True)
    gone = {source.ref(4).frame_id}
    report = run_ingest(tmp_path, source, without={4}, gone=gone, retry_failed=True)
    assert report.num_rows == 1 and [f.reason for f in report.bad_frames] == ["missing_file"]
    assert run_ingest(tmp_path, source, retry_failed=True).num_rows == 1
    assert len(all_rows(tmp_path, FRAMES)) == 6 and verify(tmp_path).accepted


def test_whoever_plans_second_plans_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process plans a part of the new frames between reading and writing the plans."""
    run_ingest(tmp_path, SyntheticSource(4))
    create, others = ingest_shard.create_plan, [SyntheticSource(6)]

    def slow_create(*arguments: object) -> bool:
        if others:
            planned(tmp_path, others.pop(), frames_per_shard=4)
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest_shard, "create_plan", slow_create)
    report = run_ingest(tmp_path, SyntheticSource(9))
    assert report.num_rows == 5 and len(read_plans(tmp_path)) == 3
    assert ids_of(tmp_path, SyntheticSource(9)) == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]


def test_a_shard_of_frames_that_only_others_list_is_left_to_them(tmp_path: Path) -> None:
    """A process that opened the source earlier does not set newer frames aside."""
    run_ingest(tmp_path, SyntheticSource(4))
    planned(tmp_path, SyntheticSource(8), frames_per_shard=4)  # by another process, just now
    report = run_ingest(tmp_path, SyntheticSource(4))
    assert report.num_rows == 0 and report.num_quarantined == 0
    assert run_ingest(tmp_path, SyntheticSource(8)).num_rows == 4


def test_damaged_or_lost_plans_are_refused_in_words(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(4))
    run_ingest(tmp_path, SyntheticSource(6))
    plan, lost = (tmp_path / "_plan" / f"0000{n}.json" for n in range(2))
    text = plan.read_bytes()
    for damage in (b"", text[:40], b"[" * 5000, b'{"source": 3}'):
        plan.write_bytes(damage)
        with pytest.raises(CorruptShard, match=r"00000.json .*restore it from a copy"):
            run_ingest(tmp_path, SyntheticSource(6))
    plan.write_bytes(text)
    lost.unlink()
    with pytest.raises(CorruptShard, match=r"frames/00001 is committed, but no plan"):
        run_ingest(tmp_path, SyntheticSource(9))
    assert len(all_rows(tmp_path, FRAMES)) == 6


@dataclass(frozen=True)
class Slow(SyntheticSource):
    def load(self, ref: FrameRef) -> Frame:
        time.sleep(0.01)
        return super().load(ref)


def grow(root: Path, num_frames: int) -> None:
    """Ingest a listing in a process of its own, in shards of three."""
    source, stop = Slow(num_frames), Stop()
    refs = source.select("all")
    plan = plan_ingest(root, source, refs, OPTIONS, frames_per_shard=3)
    from nightrain.pipelines.runs.run import run

    shards, work = ingest_work(root, source, refs, plan)
    run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


@pytest.mark.slow
def test_processes_with_older_and_newer_listings_read_every_frame_once(tmp_path: Path) -> None:
    """Three processes list 20, 35 and 50 frames at once; the one with 50 is killed on the way."""
    ingest_synthetic(tmp_path, SyntheticSource(0))
    runs = [start(grow, tmp_path, number) for number in (20, 35, 50)]
    wait_until(lambda: len(Manifest(tmp_path).entries(FRAMES)) >= 3, "three shards")
    runs[2].kill()
    for process in runs:
        process.join()
    grow(tmp_path, 50)
    rows = all_rows(tmp_path, FRAMES)  # fails on a key that is there twice
    assert set(rows) == {SyntheticSource(50).ref(i).frame_id for i in range(50)}
    report = verify(tmp_path)
    assert report.accepted and report.num_quarantined == 0 and report.orphans == []


def test_workers_get_the_frames_of_unread_shards_alone(tmp_path: Path) -> None:
    """The cost of a run follows what is new, and a shard that others commit is left to them."""
    run_ingest(tmp_path, SyntheticSource(8))
    source = SyntheticSource(11)
    refs = source.select("all")
    shards, work = ingest_work(tmp_path, source, refs, plan_ingest(tmp_path, source, refs, OPTIONS))
    with shared_with_workers(work) as shared:
        sent = pickle.loads(pickle.dumps(shared))
        (listing,) = (tmp_path / "_tmp").glob("*.json")
        found = Listing.model_validate(read_record(listing, "listing", "listing"))
        assert [ref.source_id for ref in found.refs] == ["8", "9", "10"]
        assert [sent(shard).status for shard in shards] == ["already", "committed"]
