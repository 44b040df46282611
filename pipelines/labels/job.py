"""Labelling a dataset: which shards, and the whole run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.labels.labelling_model import SavedTeacher, Teacher, load_teacher
from nightrain.pipelines.labels.settings import LabelSettings, labels_table
from nightrain.pipelines.labels.shard import LabelShard
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.selection import select_frames
from nightrain.pipelines.runs.stop import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """The shards to label, and what was left out on purpose."""

    table: str  # "labels/<teacher>-<digest>"
    shards: tuple[Shard, ...]
    num_frames: int
    skipped: dict[str, int]  # frames left out, by the reason in words


def plan_labels(
    manifest: Manifest,
    teacher: Teacher,
    settings: LabelSettings | None = None,
    *,
    conditions: Sequence[Condition] = (Condition.CLEAR,),
    include_evaluation_scenes: bool = False,
) -> LabelPlan:
    """One shard of labels per committed frames shard of the conditions.

    A teacher is trained on clear days and sees only clear frames; frames of validation and test
    scenes are left out unless asked for in words. Raises InvalidRequest where nothing is left.
    """
    table = labels_table(teacher, settings or LabelSettings())
    selection = select_frames(
        manifest,
        conditions,
        of_other_conditions=f"the teacher labels {', '.join(conditions)} frames",
        what="labels",
        may_be="labelled",
        or_else="name other conditions with --condition, or say --include-evaluation-scenes",
        include_evaluation_scenes=include_evaluation_scenes,
    )
    return LabelPlan(
        table=table,
        shards=tuple(e.shard.model_copy(update={"table": table}) for e in selection.kept),
        num_frames=selection.num_frames,
        skipped=selection.skipped,
    )


class LabelJob(BaseModel):
    """What `nightrain label` is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: Path = Field(description="Folder of the dataset, with committed frames")
    teacher: Path = Field(description="Folder of a trained depth model")
    name: str = Field(default="", description="Name of the teacher; the folder's by default")
    device: str | None = Field(default=None, description="cpu, cuda; the GPU where there is one")
    settings: LabelSettings = LabelSettings()
    conditions: tuple[Condition, ...] = Field(
        default=(Condition.CLEAR,), description="Of the frames that the teacher sees"
    )
    num_workers: int = Field(default=1, ge=1, description="Shards labelled side by side")
    include_evaluation_scenes: bool = Field(
        default=False, description="Also label val and test scenes; never train on these labels"
    )

    def plan(self) -> LabelPlan:
        """The shards that the job asks for, committed or not; raises InvalidRequest."""
        return plan_labels(
            Manifest(self.dataset),
            self.load(),
            self.settings,
            conditions=self.conditions,
            include_evaluation_scenes=self.include_evaluation_scenes,
        )

    def load(self) -> SavedTeacher:
        """The teacher; raises InvalidRequest."""
        return load_teacher(self.teacher, self.name, self.device)


def label(
    job: LabelJob, *, executor: Executor, stop: Stop, on_rows: OnRows = ignore_rows
) -> RunReport:
    """Make the labels that a job asks for, or what is missing of them.

    Raises InvalidRequest, DiskFull.
    """
    plan = job.plan()
    work = LabelShard(job.dataset, job.load(), job.settings)
    report = run(job.dataset, plan.shards, work, executor=executor, stop=stop, on_rows=on_rows)
    report.skipped = plan.skipped
    write_card(job.dataset)
    return report
