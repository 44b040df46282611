"""All commands: their help, what they import, and requests that fail before anything runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from pkgutil import resolve_name
from typing import get_args

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from nightrain.datasets.splits import EVALUATION_SPLITS, Split
from nightrain.datasets.validation import Settings
from nightrain.flows.cli import app
from nightrain.flows.cli.group import LazyGroup
from nightrain.flows.cli.options import ModelCommand
from nightrain.pipelines.runs.command_line import job_fields, value_type

RECIPE = "name: mine\nconditions:\n  fog: {}\n"


def commands(group: click.Group = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all commands: ("generate",), ("ingest", "kitti")."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner(env={"NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def test_the_list_of_commands_says_what_their_help_says() -> None:
    protocol = app.get_command(click.Context(app), "protocol")
    assert isinstance(protocol, LazyGroup)
    for group in (app, protocol):
        for name, (_, line) in group.commands_at.items():
            command = group.get_command(click.Context(group), name)
            assert command is not None and command.name == name
            assert (command.help or "").partition("\n\n")[0] == line


def command_at(path: tuple[str, ...]) -> ModelCommand:
    command: click.Command | None = app
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert isinstance(command, ModelCommand)
    return command


def inner_models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model, and the models of its fields."""
    yield model
    for field in model.model_fields.values():
        kind = value_type(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from inner_models(kind)


def test_split_means_the_same_everywhere() -> None:
    """Every command with --split takes the same names, and refuses another in the same words.

    A study reports val or test alone, under the same names.
    """
    found = {}
    for path in commands():
        (option,) = [p for p in command_at(path).params if "--split" in p.opts] or [None]
        if option is not None and path[0] != "protocol":
            fields = [f for m in command_at(path).models.values() for f in job_fields(m)]
            (kind,) = {value_type(f.info.annotation) for f in fields if f.label == "--split"}
            if path[0] == "usefulness":
                assert get_args(kind) == EVALUATION_SPLITS
                continue
            found[path] = get_args(kind)
            assert all(name in str(option.help) for name in ("train", "none", "all")), path
    assert {path[0] for path in found} >= {"ingest", "train", "evaluate", "demo"}
    assert set(found.values()) == {get_args(Split)}, found


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_options_are_strict(path: tuple[str, ...]) -> None:
    for model in command_at(path).models.values():
        for each in inner_models(model):
            assert issubclass(each, Settings), each


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_each_of_its_options(path: tuple[str, ...]) -> None:
    printed = run(*path, "--help")
    assert printed.startswith(f"Usage: nightrain {' '.join(path)} ")
    for parameter in command_at(path).params:
        assert parameter.help and parameter.help[0] != " ", parameter.name


def test_the_flows_of_commands_exist() -> None:
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect import Flow

    names = ("caption:caption_frames", "label:label_depth", "generate:generate_variants")
    names += ("train:train_teacher", "train:train_student", "train:train_restorer")
    names += ("train:train_network", "evaluate:evaluate_depth", "usefulness:usefulness")
    for name in (*names, "demo:clear_to_table"):
        assert isinstance(resolve_name(f"nightrain.flows.{name}"), Flow)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("--help",), {"pydantic", "numpy", "pyarrow"}),
        (("train", "--help"), {"numpy", "pyarrow"}),
        (("evaluate", "--help"), {"numpy", "pyarrow"}),
        (("usefulness", "--help"), {"numpy", "pyarrow"}),
        (("generate", "--help"), set()),
    ],
)
def test_help_loads_no_heavy_library(arguments: tuple[str, ...], needed: set[str]) -> None:
    script = (
        "import sys\nfrom nightrain.flows.cli import app\n"
        f"app({list(arguments)!r}, standalone_mode=False)\n"
        "print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    heavy = {"torch", "transformers", "accelerate", "diffusers", "prefect", "matplotlib"} | needed
    assert "Usage:" in done.stdout and not heavy & set(done.stderr.split())


# Requests that cannot be granted


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("runner", ["prefect", "local"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECIPE + "engine: {kind: magic}\n", "magic"),
        (RECIPE.replace("fog", "hail"), "hail"),
        (RECIPE + "colour: blue\n", "colour"),
        ("name: [\n", "is not valid YAML"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(
    dataset: Path, recipe: Path, text: str, message: str, runner: str
) -> None:
    recipe.write_text(text)
    said = run("generate", dataset, "--recipe", recipe, "--runner", runner, code=2)
    assert message in said and "mine.yaml" in said and "server" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("ingest", "waymo", "ROOT", "--out", "OUT"),
            "There is no source 'waymo'. Installed: folder, kitti, nuscenes",
        ),
        (("train", "moon", "ROOT", "--out", "OUT"), "There is no preset 'moon'; choose one of "),
        (
            ("train", "no.such:preset", "ROOT", "--out", "OUT"),
            "'no.such:preset' cannot be imported",
        ),
        (("evaluate", "median-depth", "ROOT", "--protocol", "kitty"), "'kitty'"),
        (("generate", "ROOT", "--recipe", "hail"), "'hail'"),
        (("preview", "ROOT", "--recipe", "hail"), "'hail'"),
        (("plan", "ROOT", "--recipe", "hail"), "'hail'"),
        (("world", "--out", "OUT", "--preset", "huge"), "There is no world preset 'huge'; choose"),
        (("demo", "--out", "OUT", "--world", "huge"), "There is no world preset 'huge'; choose"),
        (("demo", "--out", "OUT", "--recipe", "hail"), "'hail'"),
        (("label", "ROOT", "--teacher", "absent"), "--teacher is 'absent', which does not exist."),
        (("caption", "ROOT", "--captioner", "parrot"), "--captioner is 'parrot'; expected"),
        (("fly",), "No such command 'fly'"),
        (("ingest", "kitti", "ROOT", "--out", "OUT", "--layout", "flat"), "--layout is 'flat'"),
        (("protocol", "kitti", "absent"), "ROOT is 'absent', which does not exist."),
    ],
)
def test_an_unknown_name_is_one_sentence(
    dataset: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    paths = {"ROOT": str(dataset), "OUT": str(tmp_path / "out")}
    said = run(*(paths.get(a, a) for a in arguments), code=2)
    assert message in said, said
    assert "server" not in said and not (tmp_path / "out").exists()


def test_a_source_that_cannot_be_imported_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nightrain.datasets import plugins

    def broken(*, group: str, name: str | None = None) -> list[EntryPoint]:
        points = [EntryPoint("broken", "no_such_package:Config", "nightrain.sources")]
        return points if group == "nightrain.sources" and name in (None, "broken") else []

    monkeypatch.setattr(plugins, "entry_points", broken)
    listed = run("ingest", "--help")
    assert "broken (unavailable)" in listed and "kitti Read KITTI" in listed
    said = run("ingest", "broken", tmp_path, "--out", tmp_path / "out", code=2)
    assert "source 'no_such_package:Config': the module no_such_package cannot be imported" in said
