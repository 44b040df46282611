"""Code on the pages is valid: it parses, its imports exist, and the files it includes are there."""

import ast
import importlib
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from nightrain.datasets.conditions import ConditionProperties
from support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def blocks(language: str) -> list[tuple[Path, str]]:
    found = [(page, block) for page in PAGES for block in BLOCK.findall(page.read_text())]
    return [(page, text) for page, (name, text) in found if name == language]


def test_included_files_are_there_and_each_example_is_shown() -> None:
    included = {name for page in PAGES for name in INCLUDED.findall(page.read_text())}
    assert all((ROOT / name).is_file() for name in included)
    examples = {str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*.py")}
    assert examples <= included


@pytest.mark.parametrize(
    ("page", "text"), blocks("python"), ids=lambda value: getattr(value, "stem", "code")
)
def test_python_parses_and_imports_names_that_exist(page: Path, text: str) -> None:
    if INCLUDED.search(text) or "Condition.HAIL" in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and "nightrain" in node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_the_row_of_a_condition_has_only_fields_that_exist() -> None:
    (row,) = [text for _, text in blocks("python") if "Condition.HAIL" in text]
    (call,) = [n for n in ast.walk(ast.parse(f"{{{row}}}")) if is_row(n)]
    assert isinstance(call, ast.Call)
    assert {k.arg for k in call.keywords} <= {field.name for field in fields(ConditionProperties)}


def is_row(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ConditionProperties"


def test_toml_and_yaml_parse() -> None:
    assert all(tomllib.loads(text) for _, text in blocks("toml"))
    plain = [text for _, text in blocks("yaml") if not INCLUDED.search(text)]
    assert plain and all(yaml.safe_load(text) for text in plain)


def test_commands_on_the_pages_exist_with_their_options() -> None:
    """Every `nightrain COMMAND ... --option` on a page is one that the command line knows."""
    import typer.main

    from nightrain.flows.cli import app

    root = typer.main.get_command(app)
    unknown = {
        (page.name, line)
        for page in PAGES
        for line in command_lines(page.read_text())
        if not known(root, line.split()[1:])
    }
    assert not unknown


def command_lines(text: str) -> list[str]:
    """Commands in inline code, in indented blocks, and in fenced ones."""
    fenced = "\n".join(body for name, body in BLOCK.findall(text) if name == "bash")
    found = re.findall(r"`(nightrain [a-z][^`\n#]*)`|^    (nightrain [^\n#]*)", text, re.MULTILINE)
    return [line for pair in found for line in pair if line] + re.findall(
        r"^(nightrain [^\n#]*)", fenced, re.MULTILINE
    )


def known(command: object, words: list[str]) -> bool:
    commands = getattr(command, "commands", None)
    if commands is not None:
        if not words or words[0].startswith("-"):
            return True
        return words[0] in commands and known(commands[words[0]], words[1:])
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return all(word in options for word in words if re.fullmatch(r"--[a-z-]+", word))
