"""Ingest job: reads the frames of a source into a dataset."""

from collections.abc import Callable, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.io.atomic import make_folder, unwritable_is_refused
from nightrain.datasets.protocols.leakage import read_set, refs_set, require_disjoint
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.frame_plan import BadFrame, bad_frames
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.sources.base import FrameSource, SourceConfig
from nightrain.datasets.sources.registry import SOURCES
from nightrain.datasets.splits import EVALUATION_SPLITS, Split
from nightrain.datasets.validation import Settings
from nightrain.pipelines.ingest.ingest_shard import ingest_work, plan_ingest, unlisted_frames
from nightrain.pipelines.ingest.worker_source import shared_with_workers
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.one_run import IfRunning, one_run_at_a_time
from nightrain.pipelines.runs.quarantine import MAX_QUARANTINED, MaxQuarantined, check_frames
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop

HIDDEN: JsonDict = {"cli": "none"}
ANY_CONFIG: JsonDict = {  # a source's own fields are accepted where the source is not known yet
    "title": "Config",
    "type": "object",
    "properties": {"root": {"title": "Root", "type": "string"}},
    "required": ["root"],
}


class IngestJob(Settings):
    """Options of `nightrain ingest SOURCE`, and the parameter of the flow `ingest-frames`."""

    source: str = Field(
        description="Name of the source: nuscenes, world, robotcar, kitti, folder, or an "
        "installed one",
        json_schema_extra=HIDDEN,
    )
    config: Annotated[SerializeAsAny[SourceConfig], WithJsonSchema(ANY_CONFIG)] = Field(
        description="Options of the source"
    )
    dataset: Path = Field(
        description="Dataset folder; pass an existing one to resume or to add frames",
        json_schema_extra={"cli": "--out"},
    )
    split: Split | None = Field(
        default=None,
        description="Split to read: train, val, test, none or all (default: the source's)",
    )
    num_workers: int = Field(default=1, ge=1, le=256, description="Shards read in parallel")
    retry_failed: bool = Field(default=False, description="Read quarantined frames again")
    allow_shared_logs: bool = Field(
        default=False, description="Allow own splits to divide a log into train and held-out frames"
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    if_running: IfRunning = "share"

    @model_validator(mode="before")
    @classmethod
    def _as_fields(cls, value: Any) -> Any:
        """Accept a job of another model, such as one of any source, by its fields."""
        return dict(value) if isinstance(value, IngestJob) else value

    @field_validator("config", mode="before")
    @classmethod
    def _of_source(cls, value: Any, info: ValidationInfo) -> Any:
        """Validate the options with the config model of the source."""
        if "source" not in info.data:
            return value
        try:
            model = SOURCES.load(info.data["source"])
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        return model.model_validate(value)

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "nuscenes train into frames"."""
        return f"{self.source} {self.split_to_read} into {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the source and the split."""
        return (self.source, self.split_to_read)

    def open_source(self) -> FrameSource:
        """Open the source; raises BrokenSource, InvalidRequest."""
        return self.config.for_dataset(self.dataset).open()

    @property
    def split_to_read(self) -> Split:
        """The split, or the source's default."""
        return self.split or self.config.default_split

    def record(self) -> dict[str, str]:
        """Options as strings for the frame plan; paths only as "given" or "none"."""
        return {"split": self.split_to_read, **self.config.record()}


def ingest_job_model(source: str) -> type[IngestJob]:
    """Return the job model of one source, with the source's own fields in `config`.

    Raises InvalidRequest for an unknown source.
    """
    return _job_model(source, SOURCES.load(source))


@cache
def _job_model(source: str, config: type[SourceConfig]) -> type[IngestJob]:
    """The same class for every caller, so that one job fits all flows of its source."""
    fields: dict[str, Any] = {
        "source": (Literal[source], Field(default=source, json_schema_extra=HIDDEN)),
        "config": (config, Field(description="Options of the source")),
        "split": (Split | None, Field(default=None, description=config.split_help)),
    }
    name = f"{config.__name__.removesuffix('Config')}IngestJob"
    return create_model(name, __base__=IngestJob, __doc__=config.summary, **fields)


@one_run_at_a_time
def ingest(
    job: IngestJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
    on_listed: Callable[[FrameSource], None] = lambda _source: None,
) -> RunReport:
    """Read the frames of a job that are not committed yet.

    `on_listed` is called with the open source before reading starts.
    Raises InvalidRequest, PlanMismatch, BrokenSource, DiskFull.
    """
    source, refs = _listing(job)
    _, unread = unlisted_frames(job.dataset, source, refs, job.record())
    if unread:  # another process may have listed the source later: read it again
        source, refs = _listing(job)
    if refs:
        on_listed(source)
    return ingest_frames(
        job.dataset,
        source,
        refs,
        job.record(),
        executor=executor,
        stop=stop,
        retry_failed=job.retry_failed,
        allow_shared_logs=job.allow_shared_logs,
        max_quarantined=job.max_quarantined,
        gone=unread - {ref.frame_id for ref in refs},
        on_planned=on_planned,
        on_rows=on_rows,
    )


def _listing(job: IngestJob) -> tuple[FrameSource, Sequence[FrameRef]]:
    source = job.open_source()
    return source, source.select(job.split_to_read)


def ingest_frames(
    root: Path,
    source: FrameSource,
    refs: Sequence[FrameRef],
    options: dict[str, str],
    *,
    executor: Executor,
    stop: Stop,
    retry_failed: bool = False,
    allow_shared_logs: bool = False,
    max_quarantined: float = MAX_QUARANTINED,
    gone: Set[str] = frozenset(),
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Read the listed frames of an open source that are not committed yet.

    With `retry_failed`, frames in quarantine are read again into separate shards. `gone` are
    planned frames that the source no longer has; those that were not read are quarantined. Raises
    InvalidRequest without frames, if train and held-out frames share a scene or a log, or if the
    dataset cannot be written; PlanMismatch, BrokenSource, DiskFull.
    """
    if not refs:
        given = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in options.items())
        left_out = "; ".join(f"{number} {reason}" for reason, number in source.left_out.items())
        raise InvalidRequest(
            f"The source {source.name!r} lists no frames (options: {given}). "
            + (f"Left out: {left_out}. " if left_out else "Check the folder. ")
            + "Change the options that select frames; `--split all` selects every frame."
        )
    if root.exists() and not root.is_dir():
        raise InvalidRequest(f"--out {root} is a file; expected a folder. Choose another path.")
    with unwritable_is_refused(root):
        make_folder(root)
    report = RunReport(unplaced=list(source.unplaced), skipped=dict(source.left_out))
    report.warnings = _check_disjoint(root, source, refs, allow_shared_logs)
    report.warnings += _unlisted_warnings(root, *unlisted_frames(root, source, refs, options))
    before = bad_frames(root, source.name)

    def read(*, again: bool) -> None:
        plan = plan_ingest(root, source, refs, options, again=again, gone=gone)
        if again and not plan.shards:
            return
        shards, work = ingest_work(root, source, refs, plan)
        num_rows = {shard: len(work.plan[shard.number].frame_ids) for shard in shards}
        with shared_with_workers(work) as shared:
            run(
                root,
                shards,
                shared,
                executor=executor,
                stop=stop,
                num_rows=num_rows,
                on_planned=on_planned,
                on_rows=on_rows,
                report=report,
            )

    read(again=False)
    if retry_failed and not stop.requested:
        read(again=True)
    ours = {ref.frame_id for ref in refs} | gone
    report.bad_frames = _bad_now(root, source, ours, before)
    check_frames(report, len(ours), max_quarantined, retried=retry_failed)
    write_card(root)
    return report


def _unlisted_warnings(root: Path, read: Set[str], unread: Set[str]) -> list[str]:
    """Warnings about planned frames that the source no longer lists."""
    warnings = []
    if read:
        warnings.append(
            f"{len(read)} frames in {root} are no longer listed by the source; their rows stay"
        )
    if unread:
        warnings.append(
            f"{len(unread)} planned frames were not read, and the source no longer lists them"
        )
    return warnings


def _check_disjoint(
    root: Path, source: FrameSource, refs: Sequence[FrameRef], allow_shared_logs: bool
) -> list[str]:
    """Compare scenes and logs of train and held-out frames, both committed and new ones.

    Only `nightrain leakage` compares images. Raises InvalidRequest; returns a warning for each
    allowed overlap.
    """
    published = has_published_splits(source)
    train, held_out = (
        read_set(root, splits, images=False)
        + refs_set((ref for ref in refs if ref.split in splits), source.name, published)
        for splits in (("train",), EVALUATION_SPLITS)
    )
    overlaps = require_disjoint(train, held_out, allow_shared_logs=allow_shared_logs)
    return [f"{overlap}: {overlap.allowed}" for overlap in overlaps]


def _bad_now(
    root: Path, source: FrameSource, ours: Set[str], before: dict[str, BadFrame]
) -> list[BadFrame]:
    """Frames of this job that are now in quarantine; those found by earlier runs are marked."""
    return [
        frame.model_copy(update={"earlier": before.get(frame.frame_id) == frame})
        for frame in bad_frames(root, source.name).values()
        if frame.frame_id in ours
    ]
