"""A server is started only for work: not where nothing is left to do, nor for a refused request."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nightrain.datasets.errors import NightrainError
from nightrain.depthmodel.training.preset_registry import PRESETS
from nightrain.flows.cli import app
from support.sources import nuscenes
from support.tiny_training import lidar_teacher, make_dataset


class ServerStarted(NightrainError):
    """Raised in place of a flow run."""


@pytest.fixture(autouse=True)
def flow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ServerStarted("a server was started")

    monkeypatch.setattr("nightrain.flows.cli.jobs.run_flow", refuse)
    monkeypatch.setattr("nightrain.flows.cli.demo.run_flow", refuse)
    monkeypatch.setitem(PRESETS, "world-lidar-teacher", lidar_teacher)


def invoke(*arguments: object, runner: str) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments), "--runner", runner])


def made(*arguments: object) -> None:
    """Make everything locally: a flow run would have been started for it, and then no more."""
    first = invoke(*arguments, runner="prefect")
    assert first.exit_code and "a server was started" in first.output
    assert invoke(*arguments, runner="local").exit_code == 0
    again = invoke(*arguments, runner="prefect")
    assert again.exit_code == 0, (again.output, again.exception)


def test_a_finished_generation_starts_no_server(dataset: Path) -> None:
    made("generate", dataset)
    again = invoke("generate", dataset, "--retry-failed", runner="prefect")
    assert again.exit_code == 0, again.output


def test_a_finished_training_starts_no_server(tmp_path: Path) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "run"
    made("train", "world-lidar-teacher", root, "--out", out, "--steps", 1, "--device", "cpu")


def test_finished_captions_start_no_server(dataset: Path) -> None:
    made("caption", dataset, "--captioner", "metadata")


def test_a_finished_ingestion_starts_no_server(tmp_path: Path) -> None:
    source = nuscenes.build(tmp_path / "in", scenes=[nuscenes.SCENES[0]], exact_depth=None)
    made("ingest", "nuscenes", source.root, "--split", "all", "--out", tmp_path / "dataset")


@pytest.mark.parametrize(
    "command",
    [
        ("generate",),
        ("caption", "--captioner", "metadata"),
        ("train", "world-lidar-teacher", "--out", "OUT", "--device", "cpu"),
    ],
)
@pytest.mark.parametrize("runner", ["local", "prefect"])
def test_a_folder_without_frames_is_refused_before_anything_is_started(
    tmp_path: Path, command: tuple[str, ...], runner: str
) -> None:
    (tmp_path / "empty").mkdir()
    name, *rest = (str(tmp_path / "out") if part == "OUT" else part for part in command)
    preset = [rest.pop(0)] if name == "train" else []
    done = invoke(name, *preset, tmp_path / "empty", *rest, runner=runner)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "frames" in done.output and "server" not in done.output
    assert not (tmp_path / "out").exists()
