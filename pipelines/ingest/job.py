"""Ingestion jobs: read a source into a dataset, or what is missing of it."""

from collections.abc import Sequence
from pathlib import Path

from nightrain.datasets.frame import FrameRef
from nightrain.datasets.protocols.leakage import read_set, refs_set, require_disjoint
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.frame_plan import BadFrame, bad_frames
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.sources.base import FrameSource
from nightrain.pipelines.ingest.ingest_shard import ingest_work, plan_ingest
from nightrain.pipelines.ingest.worker_source import spooled
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.selection import EVALUATION_SPLITS
from nightrain.pipelines.runs.stop import Stop


def ingest(
    root: Path,
    source: FrameSource,
    refs: Sequence[FrameRef],
    options: dict[str, str],
    *,
    executor: Executor,
    stop: Stop,
    retry_failed: bool = False,
    allow_shared_logs: bool = False,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Read frames of a source into a dataset, or what is missing of them.

    With `retry_failed`, frames that are in quarantine are read again, into shards of their own.
    Raises InvalidRequest, also where train and held-out frames share a scene or a log;
    PlanMismatch, BrokenSource, DiskFull.
    """
    root.mkdir(parents=True, exist_ok=True)
    report = RunReport(unplaced=list(source.unplaced))
    report.warnings = _check_disjoint(root, source, refs, allow_shared_logs)
    before = bad_frames(root, source.name)

    def read(refs: Sequence[FrameRef], options: dict[str, str], again: bool) -> None:
        plan = plan_ingest(root, source, refs, options, again=again)
        shards, work = ingest_work(root, source, refs, plan)
        with spooled(work) as spool:
            run(root, shards, spool, executor=executor, stop=stop, on_rows=on_rows, report=report)

    read(refs, options, again=False)
    if retry_failed and not stop.requested:
        failed = bad_frames(root, source.name)
        if again := [ref for ref in refs if ref.frame_id in failed]:
            read(again, {**options, "retry": "yes"}, again=True)
    report.bad_frames = _bad_now(root, source, refs, before)
    write_card(root)
    return report


def _check_disjoint(
    root: Path, source: FrameSource, refs: Sequence[FrameRef], allow_shared_logs: bool
) -> list[str]:
    """Scenes and logs of train and held-out frames, those that are there and those to come.

    Pictures are compared by `nightrain leakage`. Raises InvalidRequest; returns what is let
    through.
    """
    published = has_published_splits(source)
    train, held_out = (
        read_set(root, splits, pictures=False)
        + refs_set((ref for ref in refs if ref.split in splits), source.name, published)
        for splits in (("train",), EVALUATION_SPLITS)
    )
    overlaps = require_disjoint(train, held_out, allow_shared_logs=allow_shared_logs)
    return [f"{overlap}: {overlap.allowed}" for overlap in overlaps]


def _bad_now(
    root: Path, source: FrameSource, refs: Sequence[FrameRef], before: dict[str, BadFrame]
) -> list[BadFrame]:
    asked, now = {ref.frame_id for ref in refs}, bad_frames(root, source.name)
    return [
        frame.model_copy(update={"earlier": before.get(frame.frame_id) == frame})
        for frame in now.values()
        if frame.frame_id in asked
    ]
