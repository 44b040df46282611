"""Ingestion: planned once, resumed, and damaged frames set aside with a reason."""

from pathlib import Path

import pytest

from datasets.catalog import FRAMES, Catalog
from datasets.errors import PlanMismatch, Refused
from datasets.frame import Condition
from datasets.rows import frame_from_row
from datasets.verify import verify
from pipelines.execute import SerialExecutor
from pipelines.ingest import plan_ingest, read_plans
from pipelines.run import RunReport, ingest
from pipelines.stop import Stop
from tests.synthetic import SyntheticSource, all_rows, ingest_synthetic


def run_ingest(root: Path, source: SyntheticSource, *, retry_failed: bool = False) -> RunReport:
    stop = Stop()
    return ingest(
        root,
        source,
        source.select("all"),
        {},
        executor=SerialExecutor(stop),
        stop=stop,
        retry_failed=retry_failed,
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


def test_retrying_reads_what_was_mended(tmp_path: Path) -> None:
    run_ingest(tmp_path, SyntheticSource(num_frames=6, damaged=frozenset({1, 4})))
    half = SyntheticSource(num_frames=6, damaged=frozenset({4}))
    assert run_ingest(tmp_path, half, retry_failed=True).num_rows == 1
    mended = SyntheticSource(num_frames=6)
    assert run_ingest(tmp_path, mended).num_rows == 0  # not unless asked to
    assert run_ingest(tmp_path, mended, retry_failed=True).num_rows == 1
    assert run_ingest(tmp_path, mended, retry_failed=True).num_rows == 0
    assert len(all_rows(tmp_path, FRAMES)) == 6 and verify(tmp_path).accepted


def test_a_plan_is_written_once(tmp_path: Path) -> None:
    source = SyntheticSource(num_frames=6)
    ingest_synthetic(tmp_path, source, frames_per_shard=2)
    ingest_synthetic(tmp_path, source, frames_per_shard=3)  # the first plan stands
    (plan,) = read_plans(tmp_path)
    assert [len(shard.frame_ids) for shard in plan.shards] == [2, 2, 2]


def test_a_source_that_changed_is_refused(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=6))
    with pytest.raises(PlanMismatch, match=r"6 of 8 frames.*another --out"):
        ingest_synthetic(tmp_path, SyntheticSource(num_frames=8))


def test_other_frames_are_added_behind(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=6))
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=3, split="val"))
    entries = Catalog(tmp_path).entries(FRAMES)
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
    with pytest.raises(Refused, match="--split all"):
        run_ingest(tmp_path, SyntheticSource(num_frames=0))
