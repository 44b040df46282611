"""Options of commands that are derived from pydantic models."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.cli.options import command, model_command
from nightrain.pipelines.runs.command_line import command_line


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    size: tuple[int, int] | None = Field(default=None, description="Size of the picture")
    gamma: float = Field(default=2.2, gt=0, description="Exponent")


class ToyJob(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: Path = Field(
        description="Folder of the dataset",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    out: Path = Field(description="Folder to write")
    num_workers: int = Field(default=1, ge=1, le=64, description="Processes")
    mode: Literal["fast", "exact"] = Field(default="exact", description="How to compute")
    colours: tuple[Colour, ...] = Field(
        default=(Colour.RED,), min_length=1, description="Colours to draw"
    )
    recipes: tuple[str, ...] = Field(
        default=(), description="Recipes", json_schema_extra={"cli": "--variants"}
    )
    preset: str = Field(default="small", description="Preset", examples=["small", "large"])
    settings: Inner = Inner()
    keep: bool = Field(default=True, description="Keep the images")
    retry_failed: bool = Field(default=False, description="Try failures again")
    stereo: bool | None = Field(default=None, description="Add the other image")
    hidden: int = Field(default=3, json_schema_extra={"cli": "none"})

    @model_validator(mode="after")
    def _fits(self) -> "ToyJob":
        if self.mode == "fast" and self.num_workers > 8:
            raise ValueError("fast mode has at most 8 workers")
        return self


class Output(BaseModel):
    as_json: bool = Field(default=False, description="As JSON", json_schema_extra={"cli": "--json"})


@pytest.fixture
def ran() -> list[tuple[ToyJob, Output]]:
    return []


@pytest.fixture
def toy(ran: list[tuple[ToyJob, Output]]) -> click.Command:
    def toy_run(job: ToyJob, output: Output) -> None:
        """Do something with a toy."""
        ran.append((job, output))

    return command(toy_run)


def run(toy: click.Command, *arguments: object, code: int = 0) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(toy, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_help_says_what_the_model_says(toy: click.Command) -> None:
    lines = [" ".join(line.split()) for line in run(toy, "--help").splitlines()]
    assert toy.name == "toy-run" and "Do something with a toy." in lines
    for line in (
        "DATASET Folder of the dataset",
        "--out PATH Folder to write [required]",
        "--workers INTEGER Processes [default: 1; at least 1; at most 64]",
        "--mode fast|exact How to compute [default: exact]",
        "--colours red|blue,... Colours to draw [default: red]",
        "--variants TEXT,... Recipes",
        "--preset TEXT Preset [default: small; available: small, large]",
        "--size WIDTHxHEIGHT Size of the picture",
        "--gamma NUMBER Exponent [default: 2.2; more than 0]",
        "--keep / --no-keep Keep the images [default: --keep]",
        "--retry-failed Try failures again",
        "--stereo / --no-stereo Add the other image",
        "--json As JSON",
    ):
        assert line in lines, (line, lines)
    assert not any("hidden" in line for line in lines)


def test_defaults_are_those_of_the_model(
    toy: click.Command, ran: list[Any], tmp_path: Path
) -> None:
    run(toy, tmp_path, "--out", "o")
    assert ran == [(ToyJob(dataset=tmp_path, out=Path("o")), Output())]


def test_values_become_a_job_and_the_job_a_command_line(
    toy: click.Command, ran: list[Any], tmp_path: Path
) -> None:
    given = ["--out", "o", "--workers", "4", "--colours", "blue,red", "--variants", "a"]
    given += ["--variants", "b", "--size", "64x48", "--no-keep", "--retry-failed", "--no-stereo"]
    run(toy, tmp_path, *given, "--json")
    job, output = ran[0]
    assert output.as_json and job == ToyJob(
        dataset=tmp_path,
        out=Path("o"),
        num_workers=4,
        colours=(Colour.BLUE, Colour.RED),
        recipes=("a", "b"),
        settings=Inner(size=(64, 48)),
        keep=False,
        retry_failed=True,
        stereo=False,
    )
    line = command_line("toy-run", job)
    assert line == (
        f"nightrain toy-run {tmp_path.name} --out o --workers 4 --colours blue,red --variants a,b "
        "--size 64x48 --no-keep --retry-failed --no-stereo"
    )
    run(toy, tmp_path, *line.split()[3:])
    assert ran[1][0] == job


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--workers", "0"), "--workers is '0'; expected at least 1."),
        (("--workers", "65"), "--workers is '65'; expected at most 64."),
        (("--workers", "many"), "--workers is 'many'; expected a valid integer."),
        (("--gamma", "0"), "--gamma is '0'; expected more than 0."),
        (("--gamma", "x"), "--gamma is 'x'; expected a valid number."),
        (("--mode", "slow"), "--mode is 'slow'; expected 'fast' or 'exact'."),
        (("--colours", "red,green"), "--colours is 'green'; expected 'red' or 'blue'."),
        (("--colours", ""), "--colours is ''; expected at least 1 item."),
        (("--size", "9"), "--size is '9'; expected WIDTHxHEIGHT in pixels, such as 448x256."),
        (("--mode", "fast", "--workers", "9"), "Error: fast mode has at most 8 workers."),
        (("--speed", "9"), "No such option '--speed'"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_exit_code_2(
    toy: click.Command, ran: list[Any], tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    said = run(toy, tmp_path, "--out", "o", *given, code=2)
    assert message in said and "Traceback" not in said and "toy-run --help" in said and not ran


def test_what_is_missing_is_named(toy: click.Command, tmp_path: Path) -> None:
    assert "--out is missing." in run(toy, tmp_path, code=2)
    assert "DATASET is missing." in run(toy, "--out", "o", code=2)
    assert "Option '--out' requires an argument." in run(toy, tmp_path, "--out", code=2)
    said = run(toy, tmp_path / "absent", "--out", "o", code=2)
    assert "DATASET is '" in said and "absent', which does not exist." in said


def test_an_option_is_one_field(tmp_path: Path) -> None:
    """A field that is added to a job is in the help, in the flow's parameters and in the record."""
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect import flow

    class Longer(ToyJob):
        detail: float = Field(default=0.5, ge=0, le=1, description="Share of the detail")

    jobs: list[Longer] = []

    def keep(job: Longer) -> None:
        jobs.append(job)

    toy = model_command("toy", keep, {"job": Longer}, "Do it.")
    printed = " ".join(run(toy, "--help").split())
    assert "--detail NUMBER Share of the detail [default: 0.5; at least 0; at most 1]" in printed
    run(toy, tmp_path, "--out", "o", "--detail", "0.25")
    assert jobs[0].detail == 0.25 and command_line("toy", jobs[0]).endswith("--detail 0.25")

    @flow
    def toy_flow(job: Longer) -> None:
        pass

    schema = toy_flow.parameters.model_dump()["definitions"]["Longer"]["properties"]
    assert schema["detail"]["description"] == "Share of the detail"


def test_two_fields_of_one_name_are_refused() -> None:
    class Other(BaseModel):
        out: Path = Path("o")

    with pytest.raises(InvalidRequest, match="have the same option --out"):
        model_command("toy", print, {"job": ToyJob, "other": Other}, "Do it.")


def test_many_choices_are_listed_in_the_help() -> None:
    class Choice(BaseModel):
        week: Literal["monday", "tuesday", "wednesday", "thursday", "friday"] = "monday"

    chosen = model_command("choose", print, {"job": Choice}, "Choose.")
    days = "monday, tuesday, wednesday, thursday, friday"
    printed = " ".join(run(chosen, "--help").split())
    assert f"--week NAME [default: monday; one of: {days}]" in printed
