"""Label job: labels the frames of a dataset with a trained depth model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.validation import Settings
from nightrain.pipelines.inspect.dataset_card import write_card
from nightrain.pipelines.labels.labelling_model import (
    LabellingModel,
    SavedLabellingModel,
    load_labelling_model,
)
from nightrain.pipelines.labels.settings import LabelSettings, labels_table
from nightrain.pipelines.labels.shard import LabelShard
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.one_run import IfRunning, one_run_at_a_time
from nightrain.pipelines.runs.quarantine import MAX_QUARANTINED, MaxQuarantined, check_quarantine
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.selection import select_frames, shards_behind
from nightrain.pipelines.runs.stop import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """The shards to label, and the frames that were left out on purpose."""

    table: str  # "labels/<teacher>-<digest>"
    num_rows: dict[Shard, int]  # frames of each shard
    skipped: dict[str, int]  # number of frames left out, by reason

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards, in order."""
        return tuple(self.num_rows)

    @property
    def num_frames(self) -> int:
        """Number of frames, labelled or not."""
        return sum(self.num_rows.values())


def plan_labels(
    manifest: Manifest,
    model: LabellingModel,
    settings: LabelSettings | None = None,
    *,
    conditions: Sequence[Condition] = (Condition.CLEAR,),
    include_evaluation_scenes: bool = False,
) -> LabelPlan:
    """Plan one shard of labels per committed frames shard of the conditions.

    A teacher is trained on clear days and labels only clear frames; frames of val and test scenes
    are left out unless they are included explicitly. Raises InvalidRequest if no frame is left.
    """
    table = labels_table(model, settings or LabelSettings())
    selection = select_frames(
        manifest,
        conditions,
        product="labels",
        include_evaluation_scenes=include_evaluation_scenes,
        other_conditions="choose other frames with --condition",
    )
    return LabelPlan(
        table=table,
        num_rows=shards_behind(selection.kept, table),
        skipped=selection.skipped,
    )


class LabelJob(Settings):
    """Options of `nightrain label`, and the parameter of the flow `label-depth`."""

    dataset: Path = Field(
        description="Dataset with committed frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    teacher: Path = Field(
        description="Folder of a trained depth model, such as RUN/model",
        json_schema_extra={"must_exist": True},
    )
    name: str = Field(
        default="", max_length=40, description="Name of the labels (default: the model folder's)"
    )
    device: str | None = Field(
        default=None, description="Device: cpu or cuda (default: the GPU if there is one)"
    )
    settings: LabelSettings = LabelSettings()
    conditions: tuple[Condition, ...] = Field(
        default=(Condition.CLEAR,),
        min_length=1,
        description="Conditions of the frames to label",
        json_schema_extra={"cli": "--condition"},
    )
    num_workers: int = Field(default=1, ge=1, le=256, description="Shards labelled in parallel")
    include_evaluation_scenes: bool = Field(
        default=False, description="Also label val and test scenes; never train on these labels"
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    if_running: IfRunning = "share"

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "teacher labels of nuscenes"."""
        return f"{self.name or self.teacher.name} labels of {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the teacher and the frames' conditions."""
        return (self.name or self.teacher.name, *map(str, self.conditions))

    def plan(self) -> LabelPlan:
        """Plan the job's shards, committed or not; raises InvalidRequest."""
        return plan_labels(
            Manifest(self.dataset),
            self.load(),
            self.settings,
            conditions=self.conditions,
            include_evaluation_scenes=self.include_evaluation_scenes,
        )

    def load(self) -> SavedLabellingModel:
        """Load the labelling model; raises InvalidRequest."""
        return load_labelling_model(self.teacher, self.name, self.device)


@one_run_at_a_time
def label(
    job: LabelJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Make a job's missing labels; raises InvalidRequest, DiskFull."""
    plan = job.plan()
    work = LabelShard(job.dataset, job.load(), job.settings)
    report = run(
        job.dataset,
        plan.shards,
        work,
        executor=executor,
        stop=stop,
        num_rows=plan.num_rows,
        on_planned=on_planned,
        on_rows=on_rows,
    )
    report.skipped = plan.skipped
    check_quarantine(report, Manifest(job.dataset), plan.shards, job.max_quarantined)
    write_card(job.dataset)
    return report
