"""Whole runs, in plain Python: what the flows and the command line call."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.io.atomic import require_free
from nightrain.datasets.protocols.leakage import read_set, refs_set, require_disjoint
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ShardWork, ignore_rows
from nightrain.datasets.sources.base import FrameRef, FrameSource
from nightrain.pipelines.generate.depth_polarity_check import require_near_is_white
from nightrain.pipelines.generate.plan import (
    EVALUATION_SPLITS,
    GenerationPlan,
    plan_generation,
    plan_retry,
)
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.ingest.ingest_shard import BadFrame, bad_frames, ingest_work, plan_ingest
from nightrain.pipelines.ingest.worker_source import spooled
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.recipes.recipe import load_recipe
from nightrain.pipelines.runs.executors import Executor, run_plan
from nightrain.pipelines.runs.stop import Stop


class TableReport(BaseModel):
    """What a run committed to one table."""

    num_shards: int = 0
    num_rows: int = 0
    num_bytes: int = 0
    seconds: float = 0.0
    quarantined: dict[str, int] = {}


class RunReport(BaseModel):
    """What a run committed, what it found committed, and what it could not do."""

    tables: dict[str, TableReport] = {}
    num_already: int = 0  # planned shards that were there before
    skipped: dict[str, int] = {}  # frames left out on purpose, by the reason in words
    failed: list[str] = []
    stopped: bool = False
    bad_frames: list[BadFrame] = []  # asked for and in quarantine now, whoever put them there
    unplaced: list[str] = []  # broken records of the source that do not say what they are of
    warnings: list[str] = []

    @property
    def num_rows(self) -> int:
        """Rows that this run committed."""
        return sum(table.num_rows for table in self.tables.values())

    @property
    def num_quarantined(self) -> int:
        """Rows that this run quarantined."""
        return sum(sum(table.quarantined.values()) for table in self.tables.values())

    def add(self, report: ShardReport) -> None:
        """Count one shard."""
        if report.status == "failed":
            self.failed.append(f"{report.shard.name}: {report.message}")
        elif report.status == "already":
            self.num_already += 1
        elif report.status == "committed":
            table = self.tables.setdefault(report.shard.table, TableReport())
            table.num_shards += 1
            table.num_rows += report.num_rows
            table.num_bytes += report.num_bytes
            table.seconds += report.seconds
            table.quarantined = dict(Counter(table.quarantined) + Counter(report.quarantined))


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
    report = RunReport(unplaced=list(getattr(source, "unplaced", ())))
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


class GenerateJob(BaseModel):
    """What `nightrain generate` and the flow `generate-variants` are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: Path = Field(description="Folder of the dataset, with committed frames")
    recipe: str = Field(default="weather", description="Built-in recipe or path of a YAML file")
    num_workers: int = Field(default=1, ge=1, description="Shards made side by side")
    retry_failed: bool = Field(default=False, description="Make only what is in quarantine")
    include_evaluation_scenes: bool = Field(
        default=False, description="Also use val and test scenes; never train on their variants"
    )
    gpu_limit: str | None = Field(
        default=None,
        min_length=1,
        description="Prefect's global concurrency limit of which each shard of a diffusion recipe "
        "holds a slot, so that machines and flows take turns on a GPU",
    )

    def held_limit(self) -> str | None:
        """The named limit, where the recipe's engine draws on a GPU; raises InvalidRequest."""
        if self.gpu_limit is None or load_recipe(self.recipe).diffusion is None:
            return None
        return self.gpu_limit

    def plan(self) -> GenerationPlan:
        """The shards that the job asks for, committed or not; raises InvalidRequest."""
        return plan_generation(
            Manifest(self.dataset),
            load_recipe(self.recipe),
            include_evaluation_scenes=self.include_evaluation_scenes,
        )


def generate(
    job: GenerateJob, *, executor: Executor, stop: Stop, on_rows: OnRows = ignore_rows
) -> RunReport:
    """Make the variants that a job asks for, or what is missing of them.

    Raises InvalidRequest, DiskFull, and WrongPolarity for a depth network that is upside down.
    """
    plan = job.plan()
    manifest, recipe, shards = Manifest(job.dataset), load_recipe(job.recipe), plan.shards
    if job.retry_failed:
        shards = plan_retry(manifest, shards)
    require_near_is_white(manifest, shards, recipe)
    work = GenerateShard(job.dataset, recipe)
    report = run(job.dataset, shards, work, executor=executor, stop=stop, on_rows=on_rows)
    report.skipped = plan.skipped
    write_card(job.dataset)
    return report


def run(
    root: Path,
    shards: Sequence[Shard],
    work: ShardWork,
    *,
    executor: Executor,
    stop: Stop,
    on_rows: OnRows = ignore_rows,
    report: RunReport | None = None,
) -> RunReport:
    """Run a shard plan to its end: sweep leftovers, make what is missing, add it to the report."""
    manifest = Manifest(root)
    manifest.sweep()
    sizes = [entry.rows.num_bytes for entry in manifest.entries(FRAMES)]
    require_free(root, 2 * max(sizes, default=0))
    report = report or RunReport()
    report.num_already += sum(manifest.entry(shard) is not None for shard in shards)
    for shard_report in run_plan(manifest, shards, work, executor, stop, on_rows):
        report.add(shard_report)
    manifest.sweep()  # what others left that died while this run went on
    report.stopped = stop.requested
    return report
