"""Demo run: from an empty folder to a table of depth errors by condition.

OUT/job.json    the job; a folder holds the results of one job
OUT/world/      the rendered world
OUT/dataset/    its frames, variants and labels in shards
OUT/teacher/, OUT/student/         runs, with model/ inside; with two recipes, a student of each:
OUT/student-RECIPE/
OUT/evaluation/MODEL/              scores, tables and error maps of each
OUT/table.md, OUT/table.json       all models by condition
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.atomic import sweep_drafts, write_whole
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.depthmodel.evaluation.results import read_evaluation
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.depthmodel.evaluation.tables import ComparisonTable, comparison_table
from nightrain.pipelines.demo_job import DemoJob
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model
from nightrain.pipelines.depth.train_job import TrainJob, train_network
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.built_in_world import RenderJob, render
from nightrain.pipelines.ingest.job import IngestJob, ingest
from nightrain.pipelines.labels.job import LabelJob, label
from nightrain.pipelines.recipes.recipe_file import read_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop, WorkCancelled

if TYPE_CHECKING:
    from nightrain.depthmodel.training.loop import TrainReport
    from nightrain.pipelines.depth.evaluation_job import EvaluationReport
    from nightrain.pipelines.ingest.built_in_world import RenderReport
    from nightrain.pipelines.runs.run import RunReport

    StageReport = RunReport | RenderReport | TrainReport | EvaluationReport
    RunStage = Callable[[str, BaseModel], StageReport]  # by the name of its flow

JOB_FILE, TABLE_FILE = "job.json", "table.json"
TEACHER, STUDENT = "teacher", "student"
BUCKETS = ("day-clear", "night", "day-rain", "all")

# Functions that do the work of each flow, by flow name.
SHARD_WORK: dict[str, Callable[..., Any]] = {
    "ingest-frames": ingest,
    "generate-variants": generate,
    "label-depth": label,
}
LONG_WORK: dict[str, Callable[..., Any]] = {
    "render-world": render,
    "train-teacher": train_network,
    "train-student": train_network,
    "evaluate-depth": evaluate_model,
}


def render_job(job: DemoJob) -> RenderJob:
    """Return the job that renders the world."""
    return RenderJob(
        out=job.out / "world", preset=job.world, seed=job.seed, processes=job.processes
    )


def read_job(job: DemoJob) -> IngestJob:
    """Return the job that ingests the world's frames into shards."""
    config = WorldConfig(root=job.out / "world")
    return IngestJob(source="world", config=config, dataset=job.dataset)


def generate_job(job: DemoJob, recipe: str) -> GenerateJob:
    """Return the job that generates a recipe's variants of the frames."""
    return GenerateJob(dataset=job.dataset, recipe=recipe)


def teacher_job(job: DemoJob) -> TrainJob:
    """Return the job that trains a teacher on clear frames with LiDAR (fewer steps than video)."""
    return TrainJob(
        preset="demo-teacher",
        dataset=job.dataset,
        out=job.out / TEACHER,
        steps=job.teacher_steps,
        batch_size=job.batch_size,
    )


def label_job(job: DemoJob) -> LabelJob:
    """Return the job that labels the clear frames with the teacher's depth."""
    teacher = job.out / TEACHER / "model"
    return LabelJob(dataset=job.dataset, teacher=teacher, name=TEACHER)


def student_job(job: DemoJob, recipe: str) -> TrainJob:
    """Return the job that trains a student with the labels on clear frames and variants."""
    return TrainJob(
        preset="demo-student",
        dataset=job.dataset,
        out=job.out / student(job, recipe),
        variants=(read_recipe(recipe).name,),  # it may be a file
        teacher=job.out / TEACHER / "model",
        steps=job.student_steps,
        batch_size=job.batch_size,
    )


def evaluation_job(job: DemoJob, model: str) -> EvaluationJob:
    """Return the job that scores a model against exact depth in the world's rendered weather."""
    return EvaluationJob(
        model=model if model == MEDIAN_DEPTH else str(job.out / model / "model"),
        dataset=job.dataset,
        out=job.out / "evaluation" / model,
        split=job.split,
        truth="exact",
    )


def student(job: DemoJob, recipe: str) -> str:
    """Name of the student that learns from a recipe's variants."""
    return STUDENT if len(job.recipes) == 1 else f"{STUDENT}-{read_recipe(recipe).name}"


def models(job: DemoJob) -> list[str]:
    """Names of the models in the table; the first is the baseline."""
    return [MEDIAN_DEPTH, TEACHER, *(student(job, recipe) for recipe in job.recipes)]


class DemoReport(BaseModel):
    """Result of a demo run; `table` is None if it was stopped."""

    stopped: bool = False
    table: ComparisonTable | None = None


def clear_to_table(job: DemoJob, run_stage: "RunStage") -> DemoReport:
    """Run all stages: render, ingest, generate, train, label, train and evaluate.

    Finished stages are skipped. Raises InvalidRequest where `out` holds another job or other files,
    and NightrainError where shards failed.
    """
    require_same_job(job)

    def run(name: str, stage: BaseModel) -> None:
        report = run_stage(name, stage)
        if report.stopped:
            raise WorkCancelled
        if failed := getattr(report, "failed", ()):
            raise NightrainError(f"{name}: {len(failed)} shards failed. {failed[0]}")

    try:
        run("render-world", render_job(job))
        run("ingest-frames", read_job(job))
        for recipe in job.recipes:
            run("generate-variants", generate_job(job, recipe))
        run("train-teacher", teacher_job(job))
        run("label-depth", label_job(job))
        for recipe in job.recipes:
            run("train-student", student_job(job, recipe))
        for model in models(job):
            run("evaluate-depth", evaluation_job(job, model))
    except WorkCancelled:
        return DemoReport(stopped=True)
    return DemoReport(table=write_table(job))


def run_here(
    name: str,
    job: BaseModel,
    *,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
) -> "StageReport":
    """Run a stage without Prefect, in this process."""
    if name in SHARD_WORK:
        executor = SerialExecutor(stop)
        watchers = {"on_planned": on_planned, "on_rows": on_rows}
        return SHARD_WORK[name](job, executor=executor, stop=stop, **watchers)
    return LONG_WORK[name](job, stop=stop, on_step=on_step)


def require_same_job(job: DemoJob) -> None:
    """Write the job to its folder; raises InvalidRequest where the folder holds another job."""
    path = job.out / JOB_FILE
    settings = job.model_dump_json(exclude={"out", "processes"}, indent=1) + "\n"
    if path.exists():
        if path.read_text() != settings:
            raise InvalidRequest(
                f"{job.out} holds a run of another job, {path}. Name another folder, remove this "
                "one, or use the same options."
            )
        return
    sweep_drafts(path)
    if job.out.exists() and any(job.out.iterdir()):
        raise InvalidRequest(
            f"{job.out} is not empty and has no {JOB_FILE}. Name another folder, or remove this "
            "one."
        )
    write_whole(path, settings)


def is_finished(job: DemoJob) -> bool:
    """Whether the last stage has written its table."""
    return (job.out / TABLE_FILE).is_file()


def write_table(job: DemoJob) -> ComparisonTable:
    """Write the table of all models by condition and return it; raises NightrainError."""
    scores = {m: [read_evaluation(evaluation_job(job, m).folder)] for m in models(job)}
    table = comparison_table(scores, buckets=BUCKETS)
    write_whole(job.out / "table.md", table.markdown() + "\n")
    write_whole(job.out / TABLE_FILE, table.model_dump_json(indent=1) + "\n")
    return table
