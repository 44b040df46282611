"""Run history: a run that made something leaves one record, and a damaged record hides no other."""

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.datasets.errors import DiskFull
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.flows.cli import app
from nightrain.pipelines.captions.job import CaptionJob, caption
from nightrain.pipelines.generate.cost_estimate import estimate
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.inspect.sql import run_sql
from nightrain.pipelines.publish.upload import DatasetUploader
from nightrain.pipelines.publish.upload_job import UploadJob
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.regate.job import RegateJob, regate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.history import run_record
from nightrain.pipelines.runs.history.run_record import RunRecord, read_runs, write_run
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop

RECIPE = "name: short\ndepth: exact\nconditions: {fog: {}}\ngate_seeds: 1\n"


def written(folder: Path, least_spread: int) -> str:
    path = folder / f"limit-{least_spread}.yaml"
    path.write_text(f"{RECIPE}gates: [{{name: faults, least_spread: {least_spread}}}]\n")
    return str(path)


def make(dataset: Path, recipe: str, stop_after: int = 0) -> RunReport:
    stop = Stop()

    def on_rows(_: int) -> None:
        nonlocal stop_after
        stop_after -= 1
        if not stop_after:
            stop.request()

    job = GenerateJob(dataset=dataset, recipe=recipe, max_rejected=1.0)
    return generate(job, executor=SerialExecutor(stop), stop=stop, on_rows=on_rows)


def test_a_run_records_who_made_what_and_how_much(dataset: Path, tmp_path: Path) -> None:
    recipe, before = written(tmp_path, 0), datetime.now(UTC)
    report = make(dataset, recipe)
    ((name, run),) = read_runs(dataset).runs.items()
    assert before <= run.started_at <= run.ended_at <= datetime.now(UTC)
    assert run.user and run.host and run.version and name.startswith(f"{run.started_at:%Y%m%dT}")
    assert (run.command, run.recipe, run.num_workers, run.end) == (
        "generate",
        "short",
        1,
        "complete",
    )
    job = GenerateJob(dataset=dataset, recipe=recipe)
    assert run.recipe_hash == job.recipe_hash and run.title == job.title
    (table,) = report.tables.items()
    entries = Manifest(dataset).entries(table[0])
    assert run.tables[table[0]].num_shards == len(entries) and run.num_rows == 10
    assert run.num_bytes == sum(entry.rows.num_bytes for entry in entries)
    assert run.worker_seconds == pytest.approx(sum(entry.seconds for entry in entries))
    assert run.seconds_per_row == pytest.approx(run.worker_seconds / 10)
    assert verify(dataset).accepted


def test_every_job_that_made_something_is_listed_and_no_other(
    dataset: Path, tmp_path: Path
) -> None:
    generous, strict = written(tmp_path, 0), written(tmp_path, 255)
    stopped = make(dataset, generous, stop_after=5)
    assert stopped.stopped and stopped.num_rows == 8
    make(dataset, generous)
    make(dataset, generous)  # nothing to do
    executor = SerialExecutor()
    for _ in range(2):
        fields = {"dataset": dataset, "captioner": "metadata"}
        caption(CaptionJob.model_validate(fields), executor=executor, stop=Stop())
        regate(RegateJob(dataset=dataset, recipe=strict), executor=executor, stop=Stop())
    runs = list(read_runs(dataset).runs.values())
    assert [(run.command, run.num_rows, run.num_quarantined, run.end) for run in runs] == [
        ("generate", 8, 0, "stopped"),
        ("generate", 2, 0, "complete"),
        ("caption", 10, 0, "complete"),
        ("regate", 0, 10, "complete"),
    ]
    query = "select command, sum(rows), sum(quarantined), any_value(of_table) from runs "
    rows = run_sql(dataset, query + "group by command order by 1", 9).rows
    assert [row[:3] for row in rows] == [
        ("caption", 10, 0),
        ("generate", 10, 0),
        ("regate", 0, 10),
    ]


def test_a_plan_shows_what_earlier_runs_took_and_what_the_rest_costs(
    dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(RECIPE.replace("{fog: {}}", "{fog: {}, night: {}}"))
    recipe = load_recipe(str(path), dataset)
    assert estimate(dataset, recipe).past is None
    fog = tmp_path / "fog.yaml"
    fog.write_text(RECIPE)
    make(dataset, str(fog), stop_after=8)
    make(dataset, str(fog))
    make(dataset, written(tmp_path, 0))  # other tables: its gates are part of the settings
    plan = estimate(dataset, recipe, num_workers=2, price_per_hour=1000.0)
    runs = list(read_runs(dataset).runs.values())[:2]
    assert plan.past is not None and (plan.past.num_runs, plan.past.num_variants) == (2, 10)
    seconds = sum(run.worker_seconds for run in runs)
    assert plan.past.seconds_per_variant == pytest.approx(seconds / 10)
    assert plan.past.bytes_per_variant == pytest.approx(sum(run.num_bytes for run in runs) / 10)
    assert plan.num_variants_left == 10 and plan.seconds_per_variant and plan.device == "cpu"
    assert plan.device_hours == pytest.approx(10 * plan.seconds_per_variant / 3600)
    assert plan.hours == pytest.approx(plan.device_hours / 2)
    assert plan.price == pytest.approx(1000 * plan.device_hours)
    options = ["--recipe", str(path), "--price-per-hour", "9e6", "--currency", "EUR"]
    printed = CliRunner().invoke(app, ["plan", str(dataset), *options], env={"COLUMNS": "200"})
    assert (
        "took 2 runs for 10 variants" in printed.output and "device-hours of cpu" in printed.output
    )
    assert printed.output.rstrip().endswith(" EUR")


def record(minutes: int) -> RunRecord:
    start = datetime(2026, 11, 28, tzinfo=UTC) + timedelta(minutes=minutes)
    return RunRecord(started_at=start, ended_at=start + timedelta(seconds=90), command="label")


def test_a_damaged_record_is_named_and_the_others_are_listed(dataset: Path) -> None:
    for minutes in (30, 10, 20):
        write_run(dataset, record(minutes))
    first, second, _ = sorted((dataset / "_runs").iterdir())
    first.write_bytes(first.read_bytes().replace(b"label", b"other"))
    second.write_bytes(b"")
    (dataset / "_runs" / "notes.txt").write_text("ignored")
    found = read_runs(dataset)
    assert list(found.problems) == [f"_runs/{first.name}", f"_runs/{second.name}"]
    assert list(found.runs.values()) == [record(30)]
    assert list(run_sql(dataset, "select * from runs", 5).lost) == list(found.problems)
    printed = CliRunner().invoke(app, ["runs", str(dataset)])
    assert printed.exit_code == 0 and f"left out _runs/{first.name}" in printed.output
    assert "2026-11-28 00:30" in printed.output and "label" in printed.output
    as_json = CliRunner().invoke(app, ["runs", str(dataset), "--json"])
    (only,) = json.loads(as_json.output)["runs"].values()
    assert only["command"] == "label" and verify(dataset).accepted


def test_a_dataset_without_records_says_so(dataset: Path) -> None:
    printed = CliRunner().invoke(app, ["runs", str(dataset)])
    assert printed.exit_code == 0 and "No run is recorded." in printed.output


@pytest.mark.parametrize(
    "error", [OSError(errno.EROFS, os.strerror(errno.EROFS)), DiskFull("full")]
)
def test_a_record_that_cannot_be_written_fails_no_run(
    dataset: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise error

    monkeypatch.setattr(run_record, "create_exclusively", refuse)
    assert make(dataset, written(tmp_path, 0)).num_rows == 10
    assert read_runs(dataset).runs == {}


def test_names_of_users_are_not_uploaded(dataset: Path, tmp_path: Path) -> None:
    make(dataset, written(tmp_path, 0))

    class Hub:
        ignored: tuple[str, ...] = ()

        def create_repo(self, *_: object, **__: object) -> None: ...

        def upload_folder(self, *, ignore_patterns: list[str], **_: object) -> None:
            self.ignored = tuple(ignore_patterns)

    hub = Hub()
    job = UploadJob(dataset=dataset, repo_id="someone/night")
    report = DatasetUploader(hub).upload(job)
    kept = [p for p in dataset.rglob("*") if p.is_file() and "_runs" not in p.parts]
    assert "_runs/*" in hub.ignored and report.num_files <= len(kept)
