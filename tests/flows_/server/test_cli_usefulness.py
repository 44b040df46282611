"""The command `usefulness` and its flow."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nightrain.datasets.conditions import Condition
from nightrain.flows.cli import app
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.usefulness.job import UsefulnessJob
from support.flow_server import MARKS, artifacts
from support.synthetic import ingest_synthetic
from support.usefulness import make_study_dataset, source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_study_dataset(tmp_path_factory.mktemp("made") / "dataset")


def usefulness(made: tuple[Path, Path], out: Path, *options: object) -> Result:
    dataset, teacher = made
    given = ["usefulness", dataset, "--teacher", teacher, "--variants", "test", "--out", out]
    given += ["--steps", 1, "--batch-size", 2, "--device", "cpu", "--runner", "local"]
    return CliRunner().invoke(app, [str(a) for a in (*given, *options)])


def test_the_command_trains_says_what_ends_and_prints_the_tables(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = usefulness(made, out, "--arms", "clear", "--dose", "0.9", "--seeds", "4")
    assert done.exit_code == 0, done.output
    assert done.stdout.index("clear seed 4 finished") < done.stdout.index("dose-90 seed 4 finished")
    assert done.stdout.count("| dose-90 | 1 | ") == 2  # in the report, and when the seed ended
    assert "not conclusive: this study has no arm weather" in done.stdout
    assert "2 of 2 runs finished" in done.stdout
    again = usefulness(made, out, "--arms", "clear", "--dose", "0.9", "--seeds", "4", "--json")
    report = json.loads(again.stdout)
    assert report["status"] == "finished" and report["num_finished"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "a"), "--seeds is 'a'"),
        (("--seeds", ""), "--seeds is ''"),
        (("--seeds", "1,1"), "name each value only once"),
        (("--seeds", "-1"), "--seeds is '-1'"),
        (("--dose", "much"), "--dose is 'much'"),
        (("--runner", "cloud"), "--runner is 'cloud'"),
    ],
)
def test_wrong_options_are_named(
    made: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = usefulness(made, tmp_path / "out", *options)
    assert done.exit_code == 2 and message in " ".join(done.output.replace("│", "").split())
    assert not (tmp_path / "out").exists()


def test_splits_that_share_a_place_are_one_sentence(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        places = "" if split == "train" else "shared"
        ingest_synthetic(tmp_path / "data", source(1, split, Condition.CLEAR, places))
    done = usefulness((tmp_path / "data", made[1]), tmp_path / "out")
    said = " ".join(done.output.replace("│", "").split())
    assert done.exit_code == 2 and "has 1 place in val and in test (shared-place-0);" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings(*(str(m.args[0]) for m in MARKS if m.name == "filterwarnings"))
@pytest.mark.slow
def test_the_flow_is_the_same_job(made: tuple[Path, Path], tmp_path: Path, server: None) -> None:
    from nightrain.flows.runtime.session import Session, run_in_process
    from nightrain.flows.usefulness import usefulness as flow
    from nightrain.pipelines.usefulness.study.run import UsefulnessReport

    job = UsefulnessJob(
        dataset=made[0],
        teacher=made[1],
        variants="test",
        out=tmp_path / "out",
        arms=("clear",),
        seeds=(0,),
        steps=1,
        batch_size=2,
        device="cpu",
    )
    report = run_in_process(Session[UsefulnessReport](Stop()), flow, job)
    assert report.status == "finished" and report.num_finished == 1
    assert "finished" in artifacts()["usefulness"]
