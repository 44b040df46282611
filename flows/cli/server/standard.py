"""Standard deployments of a dataset: every night, every week, and a student after new variants.

Options, or a YAML file with the same names, describe them. Everything is written as behind the
commands themselves, so that there are no other words to learn:

    dataset: /data/shards
    ingest: nuscenes /data/nuscenes --version v1.0-trainval
    recipe: [weather]
    teacher: /models/teacher
    student: world-student --steps 4000
    cron: "0 2 * * *"
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import yaml
from pydantic import Field, ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings, problems
from nightrain.flows.cli.server.schedule import Step, absolute, step_of
from nightrain.pipelines.recipes.recipe_file import built_in_recipes

NIGHTLY, WEEKLY, STUDENT = "nightly", "weekly-report", "train-student"


class StandardOptions(Settings):
    """Options of `nightrain deploy` and `nightrain serve`; all but `config` can be in its file."""

    dataset: Path | None = Field(
        default=None, description="Dataset folder", json_schema_extra={"cli": "argument"}
    )
    config: Path | None = Field(
        default=None,
        description="YAML file with these options by name; those on the command line override it",
        json_schema_extra={"must_exist": True},
    )
    ingest: str = Field(
        default="",
        description="Source with its options, as behind `nightrain ingest` without --out: "
        "'nuscenes /data/nuscenes --split train'; empty: another program adds frames",
    )
    recipe: tuple[str, ...] = Field(
        default=("weather",),
        min_length=1,
        description="Recipes of the variants: built-in names or YAML files",
        examples=built_in_recipes(),
    )
    generate: str = Field(
        default="", description="Further options of `nightrain generate`: '--workers 4'"
    )
    teacher: Path | None = Field(
        default=None, description="Model folder of a teacher, to label the clear frames"
    )
    student: str = Field(
        default="",
        description="Preset of a student, with options of `nightrain train`, which is trained "
        "after nights with new variants: 'world-student --steps 4000'",
    )
    cron: str = Field(default="0 2 * * *", description="Times of the nightly run")
    weekly: str = Field(default="0 6 * * 1", description="Times of the weekly report")
    timezone: str = Field(default="UTC", description="Time zone of both, by its IANA name")
    overlap: Literal["wait", "skip"] = Field(
        default="wait",
        description="What a nightly run does while the previous one is active: wait, or skip this "
        "time",
    )
    notify: str | None = Field(
        default=None,
        min_length=1,
        description="Notification block, as TYPE/NAME such as slack-webhook/on-call, that is told "
        "about failed runs and too many quarantined rows",
    )
    name: str = Field(default="", description="Prefix of the names (default: the dataset folder's)")

    @property
    def folder(self) -> str:
        """The dataset folder, absolute; raises InvalidRequest without one."""
        if self.dataset is None:
            raise InvalidRequest("No dataset is named. Give DATASET, or `dataset:` in --config.")
        return absolute(self.dataset)

    @property
    def prefix(self) -> str:
        """Prefix of the deployments' names."""
        return self.name or Path(self.folder).name

    def complete(self) -> "StandardOptions":
        """Return these options with those of the file added; raises InvalidRequest."""
        if self.config is None:
            return self
        fields = _read(self.config)
        given = self.model_dump(include=self.model_fields_set)
        try:
            found = StandardOptions.model_validate(fields | given)
        except ValidationError as error:
            reasons = "; ".join(problems(StandardOptions, error))
            raise InvalidRequest(f"{self.config} is not valid: {reasons}.") from error
        return found


class Standard(NamedTuple):
    """Steps of the standard deployments of a dataset."""

    nightly: list[Step]
    weekly: list[Step]
    student: list[Step]  # none without a student


def standard_of(options: StandardOptions, *, look: bool) -> Standard:
    """Compose the steps; with `look`, paths must exist here.

    Raises InvalidRequest, click.UsageError.
    """
    if look and options.teacher is not None and not options.teacher.exists():
        raise InvalidRequest(f"The teacher {options.teacher} does not exist.")
    nightly = [step_of(words, look=False) for words in _nightly(options, look)]
    weekly = [step_of(words, look=False) for words in _weekly(options)]
    if look and nightly[0][0] == "ingest":
        _require_source(nightly[0][1])
    return Standard(nightly, weekly, [step_of(w, look=False) for w in _student(options)])


def _nightly(options: StandardOptions, look: bool) -> Iterator[list[str]]:
    dataset = options.folder
    if options.ingest:
        yield ["ingest", *shlex.split(options.ingest), "--out", dataset]
    for recipe in options.recipe:
        yield from ([command, dataset, *more] for command, more in _inputs(recipe, look))
        yield ["generate", dataset, "--recipe", recipe, *shlex.split(options.generate)]
    if options.teacher is not None:
        yield ["label", dataset, "--teacher", str(options.teacher)]
    yield ["verify", dataset, "--since", "2d"]  # with what an interrupted night left
    yield _report(dataset)


def _inputs(recipe: str, look: bool) -> Iterator[tuple[str, list[str]]]:
    """Commands that make what a recipe needs; a recipe that is not here makes its own maps."""
    from nightrain.pipelines.recipes.recipe_file import load_recipe, read_recipe

    if "$" in recipe:
        return
    found = load_recipe(recipe) if look else read_recipe(recipe)
    conditioning = found.engine.conditioning
    if conditioning is not None and conditioning.captioner != "metadata":
        yield "caption", ["--captioner", conditioning.captioner]
    if found.mapped_depth is not None:
        yield "controls", ["--recipe", recipe]


def _weekly(options: StandardOptions) -> Iterator[list[str]]:
    dataset = options.folder
    yield ["verify", dataset]
    yield _report(dataset)
    for name in _recipe_names(options.recipe):
        yield ["drift", dataset, "--recipe", name]


def _report(dataset: str) -> list[str]:
    return ["report", dataset, "--out", f"{dataset}-report.html", "--if-changed"]


def _student(options: StandardOptions) -> Iterator[list[str]]:
    if not options.student:
        return
    dataset, (preset, *given) = options.folder, shlex.split(options.student)
    variants = ",".join(_recipe_names(options.recipe))
    filled = {
        "--out": f"{dataset}-students/{preset}-$NIGHTRAIN_RUN_TIME",
        "--variants": variants,
        **({"--teacher": str(options.teacher)} if options.teacher is not None else {}),
    }
    more = [word for pair in filled.items() if pair[0] not in given for word in pair]
    yield ["train", preset, dataset, *given, *more]


def _recipe_names(recipes: Sequence[str]) -> list[str]:
    """Names of recipes, also of files."""
    from nightrain.pipelines.recipes.recipe_file import read_recipe

    return [Path(r).stem if "$" in r else read_recipe(r).name for r in recipes]


def _require_source(job: dict[str, Any]) -> None:
    root = str(job["config"].get("root", ""))
    if root and "$" not in root and not Path(root).exists():
        raise InvalidRequest(f"The source's folder {root} does not exist.")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.UsageError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(found, dict) or "config" in found:
        raise InvalidRequest(f"{path} is not valid: expected options by name, such as `dataset:`.")
    return {str(key): value for key, value in found.items()}
