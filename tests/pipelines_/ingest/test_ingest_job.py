"""Ingest jobs: one model is the command's options, the flow's parameter and the plan's record."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from nightrain.datasets.plugins import PluginGroup
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.sources.base import FrameSource, SourceConfig
from nightrain.datasets.sources.registry import SOURCES
from nightrain.pipelines.ingest import job as jobs
from nightrain.pipelines.ingest.ingest_shard import plan_ingest
from nightrain.pipelines.ingest.job import IngestJob, ingest, ingest_job_model
from nightrain.pipelines.runs.command_line import job_fields
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, all_rows


class GridConfig(SourceConfig):
    summary: ClassVar[str] = "Read a grid."
    num_frames: int = Field(default=3, ge=1, description="Frames to list")

    def open(self) -> FrameSource:
        return SyntheticSource(num_frames=self.num_frames, damaged=frozenset({1}), name="grid")


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers a source "grid"."""
    sources = PluginGroup("none", "source", SourceConfig, {"grid": f"{__name__}:GridConfig"})
    monkeypatch.setattr(jobs, "SOURCES", sources)


def run(job: IngestJob, planned: list[int]) -> RunReport:
    stop = Stop()
    return ingest(job, executor=SerialExecutor(stop), stop=stop, on_planned=planned.append)


@pytest.mark.usefixtures("grid")
def test_a_job_ingests_its_source_and_the_plan_records_its_options(tmp_path: Path) -> None:
    planned: list[int] = []
    job = IngestJob.model_validate(
        {
            "source": "grid",
            "config": {"root": str(tmp_path), "num_frames": 4},
            "dataset": str(tmp_path / "dataset"),
        }
    )
    report = run(job, planned)
    assert planned == [4] and (report.num_rows, report.num_quarantined) == (3, 1)
    assert len(all_rows(job.dataset, FRAMES)) == 3
    (plan,) = read_plans(job.dataset)
    assert plan.options == job.record()
    assert plan.options == {"split": "all", "neighbours": "true", "num_frames": "4"}
    again = job.model_copy(update={"retry_failed": True})
    assert run(again, planned).num_already == 1 and len(read_plans(job.dataset)) == 2
    assert planned == [4, 0, 1]  # what is left, and then the frame in quarantine


@pytest.mark.usefixtures("grid")
def test_a_job_survives_json_with_all_options_of_its_source(tmp_path: Path) -> None:
    config = GridConfig(root=tmp_path, num_frames=7, skip_bad=True)
    job = IngestJob(source="grid", config=config, dataset=tmp_path / "d", num_workers=3)
    again = IngestJob.model_validate_json(job.model_dump_json())
    assert again == job and isinstance(again.config, GridConfig) and again.config.num_frames == 7


@pytest.mark.usefixtures("grid")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "gird"}, "There is no source 'gird'. Installed: grid"),
        ({"config": {"root": ".", "num_frames": 0}}, "greater than or equal to 1"),
        ({"config": {"root": ".", "num_scenes": 1}}, "num_scenes"),
        ({"config": {}}, "root"),
        ({"num_workers": 0}, "greater than or equal to 1"),
        ({"frames": 1}, "frames"),
    ],
)
def test_a_wrong_option_is_refused_before_the_source_is_opened(
    change: dict[str, object], message: str
) -> None:
    options = {"source": "grid", "config": {"root": "."}, "dataset": "d", **change}
    with pytest.raises(ValidationError, match=message):
        IngestJob.model_validate(options)


@pytest.mark.parametrize("name", SOURCES.built_in)
def test_every_option_of_a_source_is_an_option_of_its_job(name: str) -> None:
    model, config = ingest_job_model(name), SOURCES.load(name)
    fields = {".".join(field.path): field for field in job_fields(model)}
    hidden = {"config.cache", "config.train_filter"} | (
        {"config.version"} if name == "world" else set()
    )
    assert fields.keys() | hidden >= {f"config.{option}" for option in config.model_fields}
    assert {"dataset", "split", "num_workers", "retry_failed", "allow_shared_logs"} <= fields.keys()
    assert "source" not in fields and fields["dataset"].label == "--out"
    assert all(field.info.description for field in fields.values())
    assert len({field.label for field in fields.values()}) == len(fields)
    assert fields["split"].info.description == config.split_help
    assert model.__doc__ == config.summary


class ShrinkingConfig(SourceConfig):
    """A source with as many frames as the file `num_frames` of its folder says."""

    summary: ClassVar[str] = "Read what is left."

    def open(self) -> FrameSource:
        file = self.root / "num_frames"
        numbers = [int(text) for text in file.read_text().split()]
        file.write_text(" ".join(map(str, numbers[1:] or numbers)))
        return SyntheticSource(num_frames=numbers[0])


def test_a_planned_frame_that_is_not_listed_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = {"shrinking": f"{__name__}:ShrinkingConfig"}
    monkeypatch.setattr(jobs, "SOURCES", PluginGroup("none", "source", SourceConfig, classes))
    values = {"source": "shrinking", "config": {"root": tmp_path}, "dataset": tmp_path / "d"}
    job = IngestJob.model_validate(values)
    source = SyntheticSource(num_frames=8)
    job.dataset.mkdir()
    plan_ingest(job.dataset, source, source.select("all"), job.record())  # no row was read

    (tmp_path / "num_frames").write_text("6 8")  # a listing from before the plan, then a new one
    assert run(job, []).num_rows == 8

    other = job.model_copy(update={"dataset": tmp_path / "other"})
    other.dataset.mkdir()
    plan_ingest(other.dataset, source, source.select("all"), other.record())
    (tmp_path / "num_frames").write_text("6")
    report = run(other, [])
    assert report.num_rows == 6 and [f.reason for f in report.bad_frames] == ["missing_file"] * 2
