"""`nightrain demo` from an empty folder, on a real server, with the smallest world there is."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.depthmodel.evaluation.tables import ComparisonTable
from nightrain.flows.cli import app
from nightrain.pipelines.demo_job import DemoJob
from support.flow_server import MARKS, artifacts

pytestmark = MARKS


def small_job(out: Path) -> DemoJob:
    """One place by day and by night, four frames; a step or two of training; no val scenes."""
    return DemoJob(
        out=out,
        world="tiny",
        split="train",
        teacher_steps=2,
        student_steps=2,
        batch_size=1,
        processes=1,
        other_recipe="none",
    )


def flow_runs(since: datetime) -> list[tuple[str, str]]:
    """(flow, final state) of the runs that began after a time, in order of their start."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        later = {"start_time": {"after_": since.isoformat()}}
        ask = {"sort": "START_TIME_ASC", "flow_runs": later}
        runs = client.request("POST", "/flow_runs/filter", json=ask).json()
        flows = {
            f["id"]: f["name"] for f in client.request("POST", "/flows/filter", json={}).json()
        }
    return [(flows[run["flow_id"]], run["state_type"]) for run in runs]


def test_one_command_goes_from_an_empty_folder_to_a_table(
    server: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nightrain.flows.cli.demo import run_demo
    from nightrain.flows.cli.jobs import RunnerOptions

    job, start = small_job(tmp_path / "demo"), datetime.now(UTC)
    run_demo(job, RunnerOptions())
    printed = capsys.readouterr().out
    assert re.findall(r"^(\d)/8 ", printed, re.M) == list("12345678")
    for line in ("16 images in 2 scenes", "step 2 of 2", "accepted: ", "left out  2 night frames"):
        assert line in printed

    manifest = Manifest(job.dataset)
    assert len(manifest.tables("variants/")) == 2
    (labels,) = manifest.tables("labels/")
    assert labels.startswith("labels/teacher-")
    for model in ("teacher", "student"):
        assert (job.out / model / "model" / "model.safetensors").exists()
        assert (job.out / "evaluation" / model / "error-maps.png").exists()
    assert (job.out / "contact-sheet.png").exists()

    table = ComparisonTable.model_validate_json((job.out / "table.json").read_text())
    assert list(table.num_evaluations) == ["median-depth", "teacher", "student"]
    counts = {b.bucket: b.num_images for b in table.buckets}
    assert counts == {"day-clear": 2, "night": 2, "day-rain": 0, "all": 4}
    night = {c.arm: f"{c.mean:.3f}" for c in table.cells if (c.bucket, c.metric) == ("night", "d1")}
    lines = printed[printed.index("\nnight ") :].splitlines()[1:4]
    assert [line.split()[-1] for line in lines] == list(night.values())

    stages = [
        "render-world",
        "ingest-frames",
        "generate-variants",
        "train-teacher",
        "label-depth",
        "train-student",
        *["evaluate-depth"] * 3,
    ]
    assert flow_runs(start) == [(name, "COMPLETED") for name in ("clear-to-table", *stages)]
    assert "| student |" in artifacts()["depth-by-condition"]

    before = (job.out / "table.json").read_text()
    run_demo(job, RunnerOptions(runner="local"))
    again = capsys.readouterr().out
    for line in ("world already exists", "shards were already committed", "is already finished"):
        assert line in again
    assert "committed variants" not in again and (job.out / "table.json").read_text() == before

    evaluated = ["evaluate", MEDIAN_DEPTH, str(job.dataset), "--split", "train", "--json"]
    options = ["--runner", "prefect", "--out", str(tmp_path / "scores")]
    done = CliRunner().invoke(app, [*evaluated, *options], catch_exceptions=False)
    assert done.exit_code == 0 and flow_runs(start)[-1] == ("evaluate-depth", "COMPLETED")
    assert len(flow_runs(start)) == 11
    local = CliRunner().invoke(app, [*evaluated, "--out", str(tmp_path / "local")])
    assert done.stdout == local.stdout and len(flow_runs(start)) == 11

    with pytest.raises(InvalidRequest, match="holds a run of another job"):
        run_demo(job.model_copy(update={"seed": 8}), RunnerOptions(runner="local"))
