"""The whole way, from an empty folder to a table of depth errors by condition.

OUT/job.json    what was asked for; another request does not fit into the same folder
OUT/world/      the rendered world
OUT/dataset/    its frames, variants and labels in shards
OUT/teacher/, OUT/student/         runs, with model/ inside
OUT/evaluation/MODEL/              scores, tables and error maps of each
OUT/table.md, OUT/table.json       all models by condition
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.depthmodel.evaluation.results import read_evaluation
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.evaluation.tables import ComparisonTable, comparison_table
from nightrain.pipelines.depth.evaluation import MEDIAN_DEPTH, EvaluationJob, evaluate_model
from nightrain.pipelines.depth.training import TrainJob, train_network
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.built_in_world import ReadWorldJob, RenderJob, read_world, render
from nightrain.pipelines.labels.job import LabelJob, label
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop, WorkCancelled

if TYPE_CHECKING:
    from nightrain.depthmodel.training.loop import TrainReport
    from nightrain.pipelines.depth.evaluation import EvaluationReport
    from nightrain.pipelines.ingest.built_in_world import RenderReport
    from nightrain.pipelines.runs.run import RunReport

    StageReport = RunReport | RenderReport | TrainReport | EvaluationReport
    RunStage = Callable[[str, BaseModel], StageReport]  # by the name of its flow

JOB_FILE = "job.json"
MODELS = (MEDIAN_DEPTH, "teacher", "student")  # the first is what a network must beat
BUCKETS = ("day-clear", "night", "day-rain", "all")

# By the names of their flows: what makes shards, and what is one long job.
SHARD_WORK: dict[str, Callable[..., Any]] = {
    "ingest-world": read_world,
    "generate-variants": generate,
    "label-depth": label,
}
LONG_WORK: dict[str, Callable[..., Any]] = {
    "render-world": render,
    "train-teacher": train_network,
    "train-student": train_network,
    "evaluate-depth": evaluate_model,
}


class WholeJob(BaseModel):
    """What `nightrain demo` and the flow `clear-to-table` are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    out: Path = Field(description="Folder to make or to go on with")
    world: str = Field(default="demo", description="Preset of the world")
    seed: int = Field(default=7, ge=0)
    processes: int = Field(default=2, ge=1, description="Scenes rendered side by side")
    recipe: str = Field(default="demo", description="Recipe of the variants")
    teacher_steps: int | None = Field(default=None, ge=1, description="None: the preset's")
    student_steps: int | None = Field(default=None, ge=1, description="None: the preset's")
    batch_size: int | None = Field(default=None, ge=1, description="None: the presets'")
    split: str = Field(default="val", description="Split that is scored")

    @property
    def dataset(self) -> Path:
        """Folder of the dataset."""
        return self.out / "dataset"

    def rendering(self) -> RenderJob:
        """The world."""
        return RenderJob(
            world=self.out / "world", preset=self.world, seed=self.seed, processes=self.processes
        )

    def reading(self) -> ReadWorldJob:
        """Its frames."""
        return ReadWorldJob(world=self.out / "world", dataset=self.dataset)

    def variants(self) -> GenerateJob:
        """Their variants."""
        return GenerateJob(dataset=self.dataset, recipe=self.recipe)

    def teacher(self) -> TrainJob:
        """A teacher on clear frames and LiDAR, which learns sooner than one on video."""
        return TrainJob(
            preset="demo-teacher",
            dataset=self.dataset,
            run=self.out / "teacher",
            num_steps=self.teacher_steps,
            batch_size=self.batch_size,
        )

    def labels(self) -> LabelJob:
        """The teacher's depth of the clear frames."""
        teacher = self.out / "teacher" / "model"
        return LabelJob(dataset=self.dataset, teacher=teacher, name="teacher")

    def student(self) -> TrainJob:
        """A student of these labels, on clear frames and variants."""
        return TrainJob(
            preset="demo-student",
            dataset=self.dataset,
            run=self.out / "student",
            recipes=(self.recipe,),
            teacher=self.out / "teacher" / "model",
            num_steps=self.student_steps,
            batch_size=self.batch_size,
        )

    def evaluation(self, model: str) -> EvaluationJob:
        """A model's scores against the exact depth, on true conditions."""
        return EvaluationJob(
            model=model if model == MEDIAN_DEPTH else str(self.out / model / "model"),
            dataset=self.dataset,
            out=self.out / "evaluation" / model,
            settings=EvaluationSettings(split=self.split, truth="exact"),
        )


class WholeReport(BaseModel):
    """How the whole run ended."""

    stopped: bool = False
    table: ComparisonTable | None = None


def clear_to_table(job: WholeJob, run_stage: "RunStage") -> WholeReport:
    """Render, read, make variants, train, label, train, evaluate; what is there is not made again.

    Raises InvalidRequest where `out` holds something else, and NightrainError where shards failed.
    """
    require_same_job(job)

    def run(name: str, stage: BaseModel) -> None:
        report = run_stage(name, stage)
        if report.stopped:
            raise WorkCancelled
        if failed := getattr(report, "failed", ()):
            raise NightrainError(f"{name}: {len(failed)} shards failed. {failed[0]}")

    try:
        run("render-world", job.rendering())
        run("ingest-world", job.reading())
        run("generate-variants", job.variants())
        run("train-teacher", job.teacher())
        run("label-depth", job.labels())
        run("train-student", job.student())
        for model in MODELS:
            run("evaluate-depth", job.evaluation(model))
    except WorkCancelled:
        return WholeReport(stopped=True)
    return WholeReport(table=written_table(job))


def run_here(
    name: str,
    job: BaseModel,
    *,
    stop: Stop,
    on_rows: OnRows = ignore_rows,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
) -> "StageReport":
    """Run a stage in plain Python, in this process."""
    if name in SHARD_WORK:
        return SHARD_WORK[name](job, executor=SerialExecutor(stop), stop=stop, on_rows=on_rows)
    return LONG_WORK[name](job, stop=stop, on_step=on_step)


def require_same_job(job: WholeJob) -> None:
    """Note in the folder what is asked of it.

    Raises InvalidRequest where that is something else.
    """
    path = job.out / JOB_FILE
    asked = job.model_dump_json(exclude={"out", "processes"}, indent=1) + "\n"
    if path.exists():
        if path.read_text() != asked:
            raise InvalidRequest(
                f"{job.out} holds a run of another job, {path}. Name another folder, remove this "
                "one, or ask for the same."
            )
        return
    if job.out.exists() and any(job.out.iterdir()):
        raise InvalidRequest(
            f"{job.out} holds something else: it has no {JOB_FILE}. Name another folder, or remove "
            "this one."
        )
    job.out.mkdir(parents=True, exist_ok=True)
    path.write_text(asked)


def written_table(job: WholeJob) -> ComparisonTable:
    """Write the models' errors by condition as one table, and give it; raises NightrainError."""
    scores = {m: [read_evaluation(job.evaluation(m).out)] for m in MODELS}
    table = comparison_table(scores, buckets=BUCKETS)
    (job.out / "table.md").write_text(table.markdown() + "\n")
    (job.out / "table.json").write_text(table.model_dump_json(indent=1) + "\n")
    return table
