"""Too large a share of rows in quarantine is not success, in every job of shards."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nightrain.datasets.errors import Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard, quarantine_table
from nightrain.datasets.shards.transaction import ShardReport
from nightrain.flows.cli.console import EXIT_INCOMPLETE, exit_code
from nightrain.flows.runtime.shard_plan import final_state
from nightrain.pipelines.captions.job import CaptionJob
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import IngestJob, ingest_frames
from nightrain.pipelines.labels.job import LabelJob
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.quarantine import Tally, check_quarantine, sentence
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, ingest_synthetic

FAILS = """
name: fails
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
"""


class OneWithDepth(SyntheticSource):
    """Frames of which only the first can have a variant."""

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        return frame if ref == self.select("all")[0] else replace(frame, exact_depth_m=None)


def report_of(num_rows: int, **quarantined: int) -> RunReport:
    report = RunReport()
    shard = Shard(table="variants/r/night", number=0)
    report.add(
        ShardReport(shard=shard, status="committed", num_rows=num_rows, quarantined=quarantined)
    )
    return report


@pytest.mark.parametrize(
    ("num_rows", "num_bad", "limit", "accepted"),
    [
        (0, 6, 0.05, False),
        (95, 5, 0.05, True),  # exactly the limit
        (94, 6, 0.05, False),
        (0, 6, 1.0, True),
        (99, 1, 0.0, False),
        (100, 0, 0.0, True),
    ],
)
def test_the_share_decides(
    tmp_path: Path, num_rows: int, num_bad: int, limit: float, accepted: bool
) -> None:
    report = report_of(num_rows, **({"no_depth": num_bad} if num_bad else {}))
    check_quarantine(report, Manifest(tmp_path), [], limit)
    assert (report.over_limit == "") == accepted
    assert exit_code(report, 143) == (0 if accepted else EXIT_INCOMPLETE)
    state = final_state(report, "variants")
    assert state.is_completed() == accepted and state.is_failed() != accepted
    if not accepted:
        assert f"{num_bad} of {num_rows + num_bad} rows" in str(state.message)
        assert "the frame has no usable depth" in str(state.message)


def test_a_label_that_failed_is_a_row_and_counts_once() -> None:
    tally = Tally()
    tally.add("labels/teacher-1", 10, {"bad_output": 5})
    tally.add("variants/r/fog", 10, {"no_depth": 5})
    assert tally.num_rows == 25 and tally.share == 0.4


def test_every_reason_has_words() -> None:
    for reason in Reason:
        assert reason.words in sentence(Tally(1, Counter({str(reason): 1})), 0, {})


@pytest.mark.parametrize("job", [GenerateJob, CaptionJob, LabelJob, IngestJob])
def test_every_job_of_shards_has_the_limit(job: Any) -> None:
    assert job.model_fields["max_quarantined"].default == 0.05


@pytest.mark.parametrize(
    ("text", "share"), [("10%", 0.1), ("7.5 %", 0.075), ("0.2", 0.2), ("1", 1.0), (0, 0.0)]
)
def test_the_limit_may_be_given_in_per_cent(text: Any, share: float) -> None:
    job = CaptionJob.model_validate({"dataset": "d", "max_quarantined": text})
    assert job.max_quarantined == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "5", "-1%", "much", "%"])
def test_a_limit_beyond_all_rows_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        CaptionJob.model_validate({"dataset": "d", "max_quarantined": text})


def make(job: GenerateJob) -> RunReport:
    stop = Stop()
    return generate(job, executor=SerialExecutor(stop), stop=stop)


def test_a_later_run_with_nothing_to_do_does_not_hide_it(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, OneWithDepth(num_frames=4))
    (tmp_path / "fails.yaml").write_text(FAILS)
    job = GenerateJob(dataset=root, recipe=str(tmp_path / "fails.yaml"))
    for attempt in (make(job), make(job)):
        assert "3 of 4 rows are in quarantine (75 %; at most 5 %" in attempt.over_limit
    again = make(job.model_copy(update={"retry_failed": True}))  # they fail again
    assert again.num_quarantined == 3 and "3 of 4 rows" in again.over_limit
    assert make(job.model_copy(update={"max_quarantined": 1.0})).over_limit == ""


def test_a_retry_that_succeeds_ends_it(tmp_path: Path) -> None:
    manifest, table = Manifest(tmp_path), "variants/r/night"
    commit(manifest, Shard(table=table, number=0), {"engine_error": 4})
    report, shards = RunReport(), [Shard(table=table, number=0)]
    check_quarantine(report, manifest, shards, 0.05)
    assert "4 of 6 rows" in report.over_limit and "for example: broken" in report.over_limit
    commit(manifest, Shard(table=table, number=0, retry=1), {}, num_rows=4)
    report = RunReport()
    check_quarantine(report, manifest, shards, 0.05)
    assert report.over_limit == ""


def commit(manifest: Manifest, shard: Shard, counts: dict[str, int], num_rows: int = 2) -> None:
    from nightrain.datasets.shards.schema import QUARANTINE, VARIANTS
    from support.synthetic import variant_row

    with (
        manifest.writer(shard.table, VARIANTS, {}) as rows,
        manifest.writer(quarantine_table(shard.table), QUARANTINE, {}) as bad,
    ):
        for index in range(num_rows):
            rows.add(variant_row(10 * shard.retry + index))
        for reason, count in counts.items():
            for index in range(count):
                bad.add(quarantined_row(index, reason))
        rows.close()
        bad.close()
        manifest.commit(shard, rows, bad, about={}, counts=counts, seconds=1.0)


def quarantined_row(index: int, reason: str) -> dict[str, Any]:
    from nightrain.datasets.shards.schema import QUARANTINE

    row: dict[str, Any] = dict.fromkeys(QUARANTINE.names)
    ids = {"frame_id": f"{index:032x}", "sample_id": f"{index:032x}"}
    return (
        row | {k: v for k, v in ids.items() if k in row} | {"reason": reason, "message": "broken"}
    )


def test_damaged_frames_count_over_the_run_and_over_the_selection(tmp_path: Path) -> None:
    stop, source = Stop(), SyntheticSource(num_frames=10, damaged=frozenset({1, 2}))

    def ingest(limit: float) -> RunReport:
        return ingest_frames(
            tmp_path / "d",
            source,
            source.select("all"),
            {},
            executor=SerialExecutor(stop),
            stop=stop,
            max_quarantined=limit,
        )

    report = ingest(0.1)
    assert "2 of 10 rows are in quarantine (20 %; at most 10 %" in report.over_limit
    assert "2 of 10" in ingest(0.1).over_limit  # nothing to read, and still not accepted
    assert ingest(0.2).over_limit == ""
    assert len(Manifest(tmp_path / "d").entries(FRAMES)) == 1
    assert json.loads(report.model_dump_json())["over_limit"]
