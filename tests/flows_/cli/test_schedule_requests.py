"""Schedules that cannot be made are refused in one sentence."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.cli import app
from nightrain.flows.cli.server.schedule import step_of


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("world", "--out", "W"), "'world' cannot be scheduled; expected ingest, caption"),
        (("generate", "absent"), "DATASET is 'absent', which does not exist."),
        (("generate", "ROOT", "--recipe", "hail"), "'hail'"),
        (("generate", "ROOT", "--runner", "local"), "option 'runner' has no meaning in a schedule"),
        (("ingest", "waymo", "ROOT", "--out", "OUT"), "There is no source 'waymo'."),
        (("ingest",), "There is no source ''"),
        (("generate", "ROOT", "then", "fly"), "'fly' cannot be scheduled"),
        (("--cron", "at noon", "generate", "ROOT"), "--cron 'at noon' with --timezone"),
        (("--cron", "0 2 * * *", "--timezone", "Berlin", "verify", "ROOT"), "'Berlin' is not"),
        (("--cron", "0 2 * * *", "--every", "5", "verify", "ROOT"), "exclude each other"),
        (("--every", "0", "verify", "ROOT"), "--every is '0'; expected"),
        (("--every", "5", "verify", "ROOT"), "server http://127.0.0.1:9/api does not answer"),
    ],
)
def test_what_cannot_be_scheduled_is_said(
    dataset: Path, arguments: tuple[str, ...], message: str
) -> None:
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    words = [str(dataset) if word == "ROOT" else word for word in arguments]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nothing listens there
        done = CliRunner().invoke(app, ["schedule", *words])
    assert done.exit_code == 2, (done.output, done.exception)
    assert message in " ".join(done.output.split())


def test_paths_of_a_schedule_are_absolute(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, ingest = step_of(["ingest", "nuscenes", "in", "--out", "out"], look=False)
    assert ingest["dataset"] == str(tmp_path / "out")
    assert ingest["config"]["root"] == str(tmp_path / "in")
    _, made = step_of(["generate", "elsewhere", "--recipe", "mine.yaml"], look=False)
    assert made["recipe"] == str(tmp_path / "mine.yaml")
    _, kept = step_of(["generate", str(dataset)], look=True)
    assert kept["recipe"] == "weather"


@pytest.mark.parametrize(
    ("command", "job", "message"),
    [
        ("fly", {}, "There is no step 'fly'; expected ingest, caption"),
        ("verify", {"dataset": "/data", "speed": 3}, "The step 'verify' is not valid: speed"),
    ],
)
def test_a_step_that_was_edited_on_the_server_is_refused_in_words(
    command: str, job: dict[str, object], message: str
) -> None:
    from nightrain.flows.chain import Step

    with pytest.raises(InvalidRequest, match=message):
        Step(command=command, job=job).parsed_job()
