"""Code on the pages is valid: it parses, its imports exist, and the files it includes are there."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import indent

import click
import pyarrow.parquet as pq
import pytest
import yaml

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
    if page.stem == "add_condition":  # parts of files, which the test below puts in place
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and "nightrain" in node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module


@pytest.mark.slow
def test_a_condition_is_added_as_its_page_says(generated: Path, tmp_path: Path) -> None:
    """A copy of the packages with the page's code in place generates the new condition."""
    for name in ("datasets", "depthmodel", "pipelines", "flows"):
        shutil.copytree(ROOT / name, tmp_path / "src/nightrain" / name)
    shutil.copy(ROOT / "src/nightrain/__init__.py", tmp_path / "src/nightrain")
    row, quantity, case = (text for page, text in blocks("python") if page.stem == "add_condition")
    insert(
        tmp_path / "src/nightrain/datasets/conditions.py",
        {
            '    DUSK = "dusk"\n': '    HAIL = "hail"\n',
            'the camera, which amplifies its noise", False)\n': quantity,
            "CONDITIONS: Mapping[Condition, ConditionProperties] = {\n": indent(row, "    "),
            "QUANTITIES = (": "HAIL_RATE, ",
        },
    )
    engine = tmp_path / "src/nightrain/pipelines/engines/weather/engine.py"
    insert(engine, {"    match request.condition:\n": indent(case, "        ")})
    (tmp_path / "hail.yaml").write_text("name: hail\nconditions: {hail: {}}\n")
    shutil.copytree(generated, tmp_path / "dataset")
    command = ["nightrain.flows.cli", "generate", "dataset", "--recipe", "hail.yaml"]
    run = subprocess.run(
        [sys.executable, "-m", *command, "--runner", "local"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (shard,) = (tmp_path / "dataset/variants").glob("*/hail/*.parquet")
    rows = pq.read_table(shard, columns=["condition", "physical"]).to_pylist()
    assert len(rows) == 4 and {row["condition"] for row in rows} == {"hail"}
    assert all(1 <= row["physical"]["hail_mm_per_h"] <= 40 for row in rows)


def insert(path: Path, added: dict[str, str]) -> None:
    """Put code after the one place where a text stands."""
    text = path.read_text()
    for after, code in added.items():
        assert text.count(after) == 1, f"{path.name}: {after}"
        text = text.replace(after, after + code)
    path.write_text(text)


def test_toml_and_yaml_parse() -> None:
    assert all(tomllib.loads(text) for _, text in blocks("toml"))
    plain = [text for _, text in blocks("yaml") if not INCLUDED.search(text)]
    assert plain and all(yaml.safe_load(text) for text in plain)


def test_commands_on_the_pages_exist_with_their_options(plugins: None) -> None:
    """Every `nightrain COMMAND ... --option` on a page is one that the command line knows."""
    from nightrain.flows.cli import app

    unknown = {
        (page.name, line)
        for page in PAGES
        for line in command_lines(page.read_text())
        if not known(app, line.split()[1:])
    }
    assert not unknown


def test_flows_and_presets_on_the_pages_exist() -> None:
    from prefect import Flow

    from nightrain.depthmodel.training.preset_registry import PRESETS

    page = (ROOT / "docs/howto/schedule.md").read_text()
    for names, module in re.findall(r"^\| (`[^|]+`) \| `(nightrain[\w.]+)` \|", page, re.MULTILINE):
        objects = vars(importlib.import_module(module)).values()
        flows = {found.name for found in objects if isinstance(found, Flow)}
        assert set(re.findall(r"`([\w-]+)`", names)) <= flows, module
    page = (ROOT / "docs/howto/train.md").read_text()
    for names in re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE):
        assert set(re.findall(r"`([\w-]+)`", names)) <= set(PRESETS)


def command_lines(text: str) -> list[str]:
    """Commands in inline code, in indented blocks, and in fenced ones."""
    fenced = "\n".join(body for name, body in BLOCK.findall(text) if name == "bash")
    found = re.findall(r"`(nightrain [a-z][^`\n#]*)`|^    (nightrain [^\n#]*)", text, re.MULTILINE)
    return [line for pair in found for line in pair if line] + re.findall(
        r"^(nightrain [^\n#]*)", fenced, re.MULTILINE
    )


def known(command: click.Command, words: list[str]) -> bool:
    from nightrain.flows.cli import app

    if isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            return True
        inner = command.get_command(click.Context(command), words[0])
        return inner is not None and known(inner, words[1:])
    if command.name == "schedule":  # a command with its own options follows
        from nightrain.flows.cli.server.schedule import SCHEDULED

        first = next((n for n, word in enumerate(words) if word in SCHEDULED), len(words))
        words, inner = words[:first], words[first:]
        if inner and not known(app, inner):
            return False
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return all(word in options for word in words if re.fullmatch(r"--[a-z-]+", word))
