"""The command `nightrain train`, in plain Python and as a flow run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.training.preset_registry import PRESETS
from nightrain.depthmodel.training.trainer import Trainer
from nightrain.flows.cli import app
from support.flow_server import MARKS, artifacts
from support.tiny_training import lidar_teacher, make_dataset, outcome, train_tiny


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("cli") / "dataset")


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(PRESETS, "world-lidar-teacher", lidar_teacher)
    yield


def run(root: Path, out: Path, *options: object, mode: str = "local") -> Result:
    arguments = ["train", "world-lidar-teacher", root, "--out", out, "--runner", mode]
    arguments += ["--device", "cpu", *options]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def signal_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process gets a SIGTERM in the middle of a step."""
    do_step = Trainer.do_step

    def with_signal(self: Any) -> None:
        do_step(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "do_step", with_signal)


def test_train_writes_a_model_and_says_so(root: Path, tmp_path: Path) -> None:
    done = run(root, tmp_path / "run", "--steps", 4, "--batch-size", 2, "--seed", 3)
    assert done.exit_code == 0, done.output
    digest = DepthModel.from_pretrained(tmp_path / "run/model").digest
    text = " ".join(done.stdout.split())
    assert "step 4 of 4 in" in text and f"model {digest}" in text
    again = run(root, tmp_path / "run", "--steps", 4, "--batch-size", 2, "--seed", 3)
    assert again.exit_code == 0 and f"is already finished: model {digest}" in again.stdout


def test_the_report_as_json(root: Path, tmp_path: Path) -> None:
    done = run(root, tmp_path / "run", "--steps", 2, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["status"] == "finished" and report["step"] == 2
    assert report["digest"] == DepthModel.from_pretrained(tmp_path / "run/model").digest
    assert report["num_frames"] == 10 and report["loss"] > 0
    again = json.loads(run(root, tmp_path / "run", "--steps", 2, "--json").stdout)
    assert again["status"] == "already" and again["loss"] is None


def test_sigterm_ends_after_the_step_and_the_same_command_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        signal_after(5, patch)
        done = run(root, tmp_path / "run")
    assert done.exit_code == 143, done.output
    assert "step 5 of 12" in done.stdout and "run it again to resume" in done.stdout
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    done = run(root, tmp_path / "run")
    assert done.exit_code == 0 and "step 12 of 12" in done.stdout
    train_tiny(lidar_teacher(), root, tmp_path / "whole")
    (found, lines), (expected, expected_lines) = (
        outcome(tmp_path / "run"),
        outcome(tmp_path / "whole"),
    )
    assert lines == expected_lines and found.keys() == expected.keys()
    assert all(
        bool((found[name] == value).all()) for name, value in expected.items() if name != "step"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runner", "cloud"), "--runner is 'cloud'"),
        (("--steps", "0"), "--steps is '0'; expected at least 1."),
        (("--teacher", "/nowhere"), "does not exist"),
    ],
)
def test_wrong_options_are_named(
    root: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(root, tmp_path / "run", *options)
    assert done.exit_code == 2 and message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_refusals_leave_with_two_and_a_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nightrain.flows.cli import main

    def code_of(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["nightrain", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0)

    options = ("--runner", "local", "--device", "cpu", "--out", tmp_path / "run")
    assert code_of("train", "moon-teacher", root, *options) == 2
    assert "There is no preset 'moon-teacher'" in capsys.readouterr().err
    assert code_of("train", "world-lidar-teacher", root, "--steps", 2, *options) == 0
    assert code_of("train", "world-lidar-teacher", root, "--steps", 1, *options) == 2
    assert "config.num_steps was 2, is 1" in " ".join(capsys.readouterr().err.split())
    assert code_of("train", "world-lidar-teacher", root, "--steps", 3, *options) == 0
    assert "step 3 of 3" in capsys.readouterr().out


def test_help_loads_no_network_library() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom nightrain.flows.cli import app\n"
        "done = CliRunner().invoke(app, ['train', '--help'])\n"
        "assert done.exit_code == 0 and '--variants' in done.stdout, done.output\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'prefect', 'numpy', 'pyarrow'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


class TestOnAServer:
    pytestmark = MARKS

    def test_the_flow_trains_what_the_local_mode_trains(
        self, server: None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            signal_after(5, patch)
            done = run(root, tmp_path / "flow", mode="prefect")
        assert done.exit_code == 143, done.output
        done = run(root, tmp_path / "flow", mode="prefect")
        assert done.exit_code == 0 and "step 12 of 12" in done.stdout, done.output
        assert "flow train-teacher on" in done.stderr
        assert run(root, tmp_path / "local").exit_code == 0
        found, expected = outcome(tmp_path / "flow"), outcome(tmp_path / "local")
        assert found[1] == expected[1]
        assert (DepthModel.from_pretrained(tmp_path / "flow/model").digest) == (
            DepthModel.from_pretrained(tmp_path / "local/model").digest
        )
        assert float(artifacts()["teacher-steps"]) == 100.0
