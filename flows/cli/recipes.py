"""The group `recipe`: list, show, compare, check and start recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import Field
from pydantic.config import JsonDict

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import console, print_json
from nightrain.flows.cli.group import LazyGroup
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command, model_command
from nightrain.pipelines.inspect.verify_job import require_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightrain.pipelines.recipes.dataset_recipes import VariantTable
    from nightrain.pipelines.recipes.recipe import Recipe

ARGUMENT: JsonDict = {"cli": "argument"}
WHICH = "built-in recipe, path of a YAML file, or with --dataset a recorded name, folder or hash"

recipe = LazyGroup(
    "recipe",
    help="List, show, compare, check and start recipes.\n\nA recipe says what is generated, and "
    "with which settings. Each of its conditions has a hash of its own, so that only conditions "
    "that change are generated again.",
    commands_at={
        "list": ("recipes", "List the built-in recipes, or those of a dataset."),
        "show": ("recipes", "Print a recipe with every default, and the hash of each condition."),
        "diff": ("recipes", "Compare two recipes: settings, and conditions to generate again."),
        "new": ("recipes", "Write a recipe with explained settings, to edit."),
        "check": ("recipes", "Check a recipe file."),
        "schema": ("recipes", "Print the JSON schema of recipe files, for editors."),
    },
)


class DatasetOption(Settings):
    """Option of commands that may look into a dataset."""

    dataset: Path | None = Field(
        default=None,
        description="Dataset folder whose recipes to use",
        json_schema_extra={"must_exist": True},
    )


class ShowOptions(DatasetOption):
    """Options of `nightrain recipe show`."""

    recipe: str = Field(description=WHICH.capitalize(), json_schema_extra=ARGUMENT)


class DiffOptions(DatasetOption):
    """Options of `nightrain recipe diff`."""

    before: str = Field(description=f"First recipe: {WHICH}", json_schema_extra=ARGUMENT)
    after: str = Field(description="Second recipe, likewise", json_schema_extra=ARGUMENT)


class NewOptions(Settings):
    """Options of `nightrain recipe new`."""

    name: str = Field(description="Name of the recipe", json_schema_extra=ARGUMENT)
    like: str = Field(default="weather", description="Recipe to start from, built in or a file")
    out: Path = Field(default=Path(), description="Folder to write NAME.yaml and the schema to")


class CheckOptions(Settings):
    """Options of `nightrain recipe check`."""

    path: str = Field(description="Recipe file, or built-in recipe", json_schema_extra=ARGUMENT)


def _list(job: DatasetOption, output: OutputOptions) -> None:
    from nightrain.pipelines.recipes.dataset_recipes import variant_tables
    from nightrain.pipelines.recipes.recipe_file import built_in_recipes, read_recipe

    if job.dataset is not None:
        require_dataset(job.dataset)
        tables = variant_tables(job.dataset)
        if output.as_json:
            print(json.dumps([table.model_dump(mode="json") for table in tables], indent=2))
        else:
            _print_tables(tables)
        return
    recipes = [read_recipe(name) for name in built_in_recipes()]
    if output.as_json:
        keys = {"name", "description", "engine", "conditions"}
        print(json.dumps([r.model_dump(mode="json", include=keys) for r in recipes], indent=2))
    else:
        _print_built_in(recipes)


LIST_HELP = """List the built-in recipes, or those of a dataset.

With --dataset, each line is a table of variants: the recipes that use it, its condition and folder,
and whether it is superseded: no recipe uses it any more.
"""
list = model_command("list", _list, {"job": DatasetOption, "output": OutputOptions}, LIST_HELP)


@command
def show(job: ShowOptions) -> None:
    """Print a recipe with every default, and the hash of each condition.

    The output is a recipe file. With --dataset, the recipe is the one that the dataset records.
    """
    from nightrain.datasets.errors import InvalidRequest
    from nightrain.pipelines.recipes.recipe_file import load_recipe, read_recipe
    from nightrain.pipelines.recipes.recipe_text import resolved_yaml

    shown = _recorded(job.dataset, job.recipe)
    try:
        shown = shown or load_recipe(job.recipe, job.dataset)
    except InvalidRequest as error:
        shown = read_recipe(job.recipe)  # valid, but its weights are not here
        click.secho(f"nightrain: no hashes: {error}", err=True, fg="yellow")
    note = shown.folder_of if shown.engine_versions else lambda _: "hash unknown"
    click.echo(resolved_yaml(shown, note), nl=False)


@command
def diff(job: DiffOptions, output: OutputOptions) -> None:
    """Compare two recipes: settings, and conditions to generate again.

    The conditions are those that `generate` would make with the second recipe on a dataset that
    has all variants of the first.
    """
    from nightrain.pipelines.recipes.recipe_diff import recipe_diff
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    first, second = (
        _recorded(job.dataset, name) or load_recipe(name, job.dataset)
        for name in (job.before, job.after)
    )
    found = recipe_diff(first, second)
    if output.as_json:
        print_json(found)
        return
    out = console()
    for change in found.changes:
        before, after = (json.dumps(value) for value in (change.before, change.after))
        out.print(f"{change.setting}: {before} -> {after}", markup=False)
    lists = {"to generate": found.generated, "unchanged": found.kept, "dropped": found.dropped}
    for words, conditions in lists.items():
        out.print(f"{words:13s}{', '.join(conditions) or 'none'}")


@command
def new(job: NewOptions) -> None:
    """Write a recipe with explained settings, to edit.

    NAME.yaml has every setting with its meaning; defaults are commented out. The JSON schema next
    to it gives editors completion and checks. Nothing is overwritten.
    """
    from nightrain.pipelines.recipes.recipe_file import read_recipe, renamed
    from nightrain.pipelines.recipes.recipe_text import write_new

    made = renamed(read_recipe(job.like), job.name)
    path = job.out / f"{made.name}.yaml"
    schema = write_new(path, made)
    click.echo(f"{path}: edit it, then run `nightrain recipe check {path}`. Schema: {schema}")


@command
def check(job: CheckOptions) -> None:
    """Check a recipe file.

    The engine, its weights and the gates must be on this machine. An error names the setting, what
    was found and what is expected.
    """
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    found = load_recipe(job.path)
    click.echo(f"{job.path} is valid: recipe {found.name}, engine {found.engine.name}")
    for condition, severity in found.conditions.items():
        folder = found.folder_of(condition)
        click.echo(f"  {condition:11s} {severity.lowest:g} to {severity.highest:g}  {folder}")


@command
def schema() -> None:
    """Print the JSON schema of recipe files, for editors.

    It covers the engines and gates that are installed here.
    """
    from nightrain.pipelines.recipes.recipe_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))


def _recorded(dataset: Path | None, name: str) -> Recipe | None:
    """Recipe of a dataset; None for a file, a built-in recipe without a record, or no dataset."""
    from nightrain.datasets.shards.recipe_records import recipe_records
    from nightrain.pipelines.recipes.dataset_recipes import recorded_recipe
    from nightrain.pipelines.recipes.recipe_file import built_in_recipes

    if dataset is None or name.endswith((".yaml", ".yml")):
        return None
    require_dataset(dataset)
    if name in built_in_recipes() and name not in recipe_records(dataset):
        return None
    return recorded_recipe(dataset, name)


def _print_built_in(recipes: Sequence[Recipe]) -> None:
    for one in recipes:
        click.echo(f"{one.name:21s} {one.engine.name:10s} {', '.join(one.conditions)}")
        click.echo(f"    {one.description}")


def _print_tables(tables: Sequence[VariantTable]) -> None:
    names = [", ".join(table.recipes) or "-" for table in tables]
    width, folder = (max(map(len, column)) for column in (["recipe", *names], _folders(tables)))
    click.echo(
        f"{'recipe':{width}s}  condition   {'folder':{folder}s}  shards   variants  quarantined"
    )
    for name, t in zip(names, tables, strict=True):
        counts = f"{t.num_shards:6,}  {t.num_variants:9,}  {t.num_quarantined:11,}"
        line = f"{name:{width}s}  {t.condition:10s}  {t.folder:{folder}s}  {counts}  {_note(t)}"
        click.echo(line.rstrip())


def _folders(tables: Sequence[VariantTable]) -> tuple[str, ...]:
    return "folder", *(table.folder for table in tables)


def _note(table: VariantTable) -> str:
    if table.superseded:
        return f"superseded by {table.successor}" if table.successor else "superseded: dropped"
    return "" if table.recipes else "of no recipe"
