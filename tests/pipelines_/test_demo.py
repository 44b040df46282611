"""A whole run in pieces: what ends it, what it refuses, and what stopping leaves behind."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.pipelines.demo import clear_to_table, models, student_job
from nightrain.pipelines.demo_job import DemoJob
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model
from nightrain.pipelines.ingest.built_in_world import RenderJob, render
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, ingest_synthetic


class Recorded:
    """Runs no stage, notes which were asked for, and gives the reports that it is told to."""

    def __init__(self, **reports: Any) -> None:
        self.reports, self.names = reports, list[str]()

    def __call__(self, name: str, job: BaseModel) -> Any:
        self.names.append(name)
        return self.reports.get(name.replace("-", "_"), SimpleNamespace(stopped=False))


def test_a_stage_that_was_stopped_ends_the_run(tmp_path: Path) -> None:
    stages = Recorded(generate_variants=SimpleNamespace(stopped=True, failed=["x"]))
    report = clear_to_table(DemoJob(out=tmp_path / "o"), stages)
    assert report.stopped and report.table is None
    assert stages.names == ["render-world", "ingest-frames", "generate-variants"]


def test_failed_shards_end_the_run_before_anything_learns_from_the_rest(tmp_path: Path) -> None:
    stages = Recorded(ingest_frames=SimpleNamespace(stopped=False, failed=["frames/00000: broken"]))
    with pytest.raises(
        NightrainError, match=r"ingest-frames: 1 shards failed\. frames/00000: broken"
    ):
        clear_to_table(DemoJob(out=tmp_path / "o"), stages)
    assert stages.names == ["render-world", "ingest-frames"]


def test_a_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    job, stages = DemoJob(out=tmp_path / "o"), Recorded(render_world=SimpleNamespace(stopped=True))
    clear_to_table(job, stages)
    clear_to_table(job.model_copy(update={"processes": 1}), stages)  # decides no byte
    with pytest.raises(InvalidRequest, match="holds a run of another job"):
        clear_to_table(job.model_copy(update={"seed": 8}), stages)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(InvalidRequest, match="is not empty and has no job"):
        clear_to_table(DemoJob(out=tmp_path / "mine"), stages)
    assert len(stages.names) == 2 and len(list((tmp_path / "mine").iterdir())) == 1


def stop_after_one() -> tuple[Stop, Any]:
    stop = Stop()
    return stop, lambda _done, _total: stop.request()


def test_rendering_that_is_stopped_is_resumed(tmp_path: Path) -> None:
    job = RenderJob(out=tmp_path / "w", preset="tiny", frames=1, size=(32, 18))
    stop, on_step = stop_after_one()
    report = render(job, stop=stop, on_step=on_step)
    assert report.stopped and [p.name for p in job.out.iterdir()] == ["_scenes"]
    report = render(job, stop=Stop(), on_step=lambda _done, _total: None)
    assert not report.stopped and not report.already and report.num_scenes == 2
    assert render(job, stop=Stop(), on_step=lambda _done, _total: None).already
    expected = "no world preset 'huge'; choose one of tiny, small, demo, bench"
    with pytest.raises(InvalidRequest, match=expected):
        render(RenderJob(out=tmp_path / "w", preset="huge"), stop=stop, on_step=on_step)


def test_an_evaluation_that_is_stopped_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    ingest_synthetic(dataset, SyntheticSource(num_frames=3, split="val"))
    job = EvaluationJob(model="median-depth", dataset=dataset, out=tmp_path / "e", truth="exact")
    stop, on_step = stop_after_one()
    report = evaluate_model(job, stop=stop, on_step=on_step)
    assert report.stopped and not job.folder.exists()
    report = evaluate_model(job, stop=Stop())
    assert not report.stopped and report.num_images == 3
    assert report.abs_rel["day-clear"] > 0 and "abs_rel day-clear" in report.line


def test_the_student_sees_the_variants_of_a_recipe_file(tmp_path: Path) -> None:
    """The recipe may be a file of any name; readers know its variants by the name inside."""
    path = tmp_path / "file.yaml"
    path.write_text("name: mine\nconditions: {night: {}}\n")
    job = DemoJob(out=tmp_path, recipe=str(path))
    assert student_job(job, str(path)).variants == ("mine",)
    assert student_job(DemoJob(out=tmp_path), "weather").variants == ("weather",)


def test_a_second_recipe_has_variants_and_a_student_of_its_own(tmp_path: Path) -> None:
    job = DemoJob(out=tmp_path / "o", other_recipe="weather-world")
    jobs: list[Any] = []

    def note(name: str, stage: BaseModel) -> Any:
        jobs.append((name, stage))
        return SimpleNamespace(stopped=name == "evaluate-depth")

    clear_to_table(job, note)
    recipes = [stage.recipe for name, stage in jobs if name == "generate-variants"]
    assert recipes == ["diffusion-world", "weather-world"]
    students = [stage for name, stage in jobs if name == "train-student"]
    assert [s.variants for s in students] == [("diffusion-world",), ("weather-world",)]
    found = ("student-diffusion-world", "student-weather-world")
    assert [s.out.name for s in students] == list(found)
    assert models(job) == ["median-depth", "teacher", *found]
    assert models(DemoJob(out=tmp_path, other_recipe="none")) == [
        "median-depth",
        "teacher",
        "student",
    ]
