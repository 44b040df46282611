"""The standard deployments of a dataset: one definition, by a file or by options."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.cli import app
from nightrain.flows.cli.server.deploy import serve
from nightrain.flows.cli.server.standard import Standard, StandardOptions, standard_of
from support.tiny_depth_models import save_teacher

FIELDS: dict[str, Any] = {
    "dataset": "$NIGHTRAIN_DATA/shards",
    "ingest": "nuscenes $NIGHTRAIN_DATA/nuscenes --split train",
    "recipe": ["weather"],
    "generate": "--workers 2",
    "teacher": "/models/teacher",
    "student": "world-student --steps 400",
}


def commands(steps: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [command for command, _ in steps]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump(FIELDS))
    return path


def standard(**fields: Any) -> Standard:
    return standard_of(StandardOptions.model_validate(fields), look=False)


def test_a_file_describes_all_steps(file: Path) -> None:
    made = standard_of(StandardOptions(config=file).complete(), look=False)
    steps = ["ingest", "controls", "generate", "label", "verify", "report"]
    assert commands(made.nightly) == steps
    assert commands(made.weekly) == ["verify", "report", "drift"]
    assert {job["dataset"] for part in made for _, job in part} == {"$NIGHTRAIN_DATA/shards"}
    jobs = dict(made.nightly)
    assert jobs["ingest"]["config"]["root"] == "$NIGHTRAIN_DATA/nuscenes"
    assert jobs["ingest"]["split"] == "train" and jobs["generate"]["num_workers"] == 2
    assert jobs["verify"]["since"] == "2d" and dict(made.weekly)["verify"]["since"] == ""
    assert jobs["report"]["out"] == "$NIGHTRAIN_DATA/shards-report.html"
    assert jobs["report"]["if_changed"] is True
    ((command, job),) = made.student
    assert command == "train" and job["preset"] == "world-student" and job["steps"] == 400
    assert job["variants"] == ("weather",) or job["variants"] == ["weather"]
    assert job["teacher"] == "/models/teacher"
    assert job["out"] == "$NIGHTRAIN_DATA/shards-students/world-student-$NIGHTRAIN_RUN_TIME"


def test_options_override_the_file(file: Path) -> None:
    given = StandardOptions(config=file, dataset=Path("/data/other"), ingest="").complete()
    made = standard_of(given, look=False)
    assert commands(made.nightly)[0] == "controls" and given.prefix == "other"
    assert {job["dataset"] for part in made for _, job in part} == {"/data/other"}


def test_the_steps_of_both_are_jobs_of_the_flow(file: Path) -> None:
    from nightrain.flows.chain import Step

    variables = {"NIGHTRAIN_DATA": "/data", "NIGHTRAIN_RUN_TIME": "2026-11-28-0200"}
    for part in standard_of(StandardOptions(config=file).complete(), look=False):
        for command, job in part:
            parsed = Step(command=command, job=job).parsed_job(variables).model_dump()
            assert parsed["dataset"] == Path("/data/shards")


def test_captions_are_made_where_a_recipe_needs_them(tmp_path: Path) -> None:
    made = standard(dataset="/data/shards", recipe=["weather-demo", "gdt-nuscenes"])
    assert commands(made.nightly).count("generate") == 2
    captions = [job["captioner"] for command, job in made.nightly if command == "caption"]
    assert captions == ["blip2"] and not made.student
    assert [job["recipe"] for command, job in made.weekly if command == "drift"] == [
        "weather-demo",
        "gdt-nuscenes",
    ]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("dataset: [", (), "is not valid YAML"),
        ("- dataset", (), "expected options by name"),
        ("dataset: /d\nspeed: 3", (), "speed is not an option; expected one of"),
        ("recipe: [weather]", (), "No dataset is named. Give DATASET"),
        ("dataset: /d\nrecipe: [hail]", (), "'hail'"),
        ("dataset: /d\nteacher: /absent", (), "The teacher /absent does not exist"),
        ("dataset: /d\ningest: nuscenes /absent", (), "source's folder /absent does not exist"),
        ("dataset: /d\ningest: waymo /w", (), "There is no source 'waymo'"),
        ("dataset: /d\ncron: at noon", (), "'at noon'"),
        ("dataset: /d", ("--notify", "mail"), "does not answer"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, text: str, arguments: tuple[str, ...], message: str
) -> None:
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    path = tmp_path / "nightly.yaml"
    path.write_text(text)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nothing listens there
        done = CliRunner().invoke(app, ["serve", "--config", str(path), *arguments])
    assert done.exit_code == 2, (done.output, done.exception)
    assert message in " ".join(done.output.split())


def test_serve_looks_before_it_starts(tmp_path: Path) -> None:
    """The teacher and the source are here, the dataset is not yet: the first night makes it."""
    (tmp_path / "in").mkdir()
    save_teacher(tmp_path / "teacher", seed=0)
    words = [str(tmp_path / "shards"), "--ingest", f"nuscenes {tmp_path / 'in'}"]
    options = serve.parsed([*words, "--teacher", str(tmp_path / "teacher")])["options"]
    assert commands(standard_of(options, look=True).nightly)[0] == "ingest"


def test_a_dataset_that_is_not_named_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="No dataset is named"):
        standard()


def test_forms_offer_the_built_in_recipes() -> None:
    """The dashboard shows an enum as a list to choose from; any other path can be typed."""
    from nightrain.flows.controls import make_control_maps
    from nightrain.flows.generate import generate_variants
    from nightrain.pipelines.recipes.recipe_file import built_in_recipes

    for flow in (generate_variants, make_control_maps):
        (job,) = flow.parameters.model_dump()["definitions"].values()
        choice, path = job["properties"]["recipe"]["anyOf"]
        assert choice["enum"] == built_in_recipes() and path["type"] == "string"
