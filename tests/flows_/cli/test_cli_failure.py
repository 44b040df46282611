"""Failures of commands: one sentence and an exit code; only a bug has a traceback, in a file."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import click
import pytest

from nightrain.datasets.errors import BrokenSource, CorruptShard, DiskFull, NightrainError
from nightrain.flows.cli import main
from nightrain.flows.cli.group import LazyGroup
from support.plugins import install

RECIPE = "name: a\nengine: weather\nconditions: {night: {}}\n"


def run(*arguments: str | Path, code: int) -> str:
    """Run a command; return what it printed on standard error."""
    err = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()), redirect_stderr(err):
        patch.setattr(sys, "argv", ["nightrain", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == code, err.getvalue()
    return err.getvalue()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let every command raise this error."""

    def fail(error: BaseException) -> None:
        def raises() -> None:
            raise error

        command = click.Command("stats", callback=raises)
        monkeypatch.setattr(LazyGroup, "get_command", lambda *_: command)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BrokenSource("a table is missing"), 2, "a table is missing"),
        (CorruptShard("a shard is damaged"), 2, "a shard is damaged"),
        (NightrainError("a worker was killed"), 1, "a worker was killed"),
        (DiskFull("no space"), 4, "no space"),
        (PermissionError(errno.EACCES, "", "/x"), 2, "/x: Permission denied. Check its perm"),
        (OSError(errno.EROFS, "", "/x"), 2, "/x: Read-only file system. Choose"),
        (OSError(errno.EMFILE, "", "/x"), 2, "Too many open files. Raise the limit"),
        (OSError(errno.EMLINK, "", "/x", None, "/y"), 2, "/x to /y: Too many links"),
        (OSError(errno.ENOSPC, "", "/x"), 4, "No space left on device. Free some"),
        (OSError(errno.EFBIG, "", "/x"), 4, "File too large. Raise the limit"),
        (OSError("an odd error"), 2, "an odd error."),
        (MemoryError(), 1, "Cannot allocate memory. Use smaller batches"),
        (RuntimeError("Failed to reach API at http://x/"), 2, "Prefect's server: Failed to reach"),
        (ModuleNotFoundError("No module named 'x'", name="x"), 2, "The package 'x' is missing"),
    ],
    ids=repr,
)
def test_an_expected_error_is_one_sentence(
    failing: Callable[[BaseException], None], error: Exception, code: int, words: str
) -> None:
    failing(error)
    said = run("stats", code=code)
    assert said.startswith("nightrain: ") and words in said
    assert "Traceback" not in said and said.count("\n") == 1 and "bug" not in said


def test_a_bug_says_so_and_keeps_its_traceback_in_a_file(
    failing: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(ZeroDivisionError("division by zero"))
    said = run("stats", code=1)
    assert "Traceback" not in said and said.count("\n") == 1
    [file] = tmp_path.iterdir()
    assert "This is a bug in nightrain (ZeroDivisionError: division by zero)." in said
    assert f"Please report it with the traceback in {file}" in said
    text = file.read_text()
    assert "Traceback (most recent" in text and "nightrain stats" in text and "Python 3" in text


def test_the_traceback_of_any_error_is_shown_on_request(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(BrokenSource("a table is missing"))
    assert "Traceback (most recent" in run("--traceback", "stats", code=2)
    monkeypatch.setenv("NIGHTRAIN_TRACEBACK", "1")
    assert "Traceback (most recent" in run("stats", code=2)


def test_a_recursion_is_a_bug_and_not_a_traceback(
    failing: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(RecursionError("maximum recursion depth exceeded"))
    assert "This is a bug in nightrain (RecursionError" in run("stats", code=1)


def test_a_reader_that_has_ended_is_no_error(failing: Callable[[BaseException], None]) -> None:
    failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert run("stats", code=1) == ""


def test_warnings_of_the_packages_are_shown_once(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warns() -> None:
        logging.getLogger("nightrain.pipelines.runs.waiting").warning("waiting for x")

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: click.Command("stats", callback=warns))
    for _ in range(2):
        assert run("stats", code=0) == "nightrain: waiting for x\n"


@pytest.mark.parametrize("command", ["plan", "generate", "preview"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RECIPE + "batch_size: true\n", "batch_size is True; expected a valid integer"),
        (RECIPE + "name: b\n", "found the key 'name' twice in line 4"),
        (RECIPE + "x: " + "[" * 5000, "nested too deeply"),
        (RECIPE + "x: 2024-13-45", "month must be in 1..12"),
    ],
    ids=["boolean", "twice", "deep", "date"],
)
def test_a_recipe_that_cannot_be_read_is_one_sentence(
    dataset: Path, tmp_path: Path, command: str, text: str, words: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    more = ("--runner", "local") if command == "generate" else ()
    said = run(command, dataset, "--recipe", recipe, *more, code=2)
    assert words in said and str(recipe) in said and said.strip().count("\n") == 0


def test_a_preview_of_an_unknown_kind_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    said = run("preview", dataset, "--recipe", "weather", "--out", tmp_path / "a.xyz", code=2)
    assert "expected a name that ends with .png or .jpg" in said


@pytest.mark.parametrize("kind", ["folder", "FIFO", "bytes"])
def test_a_recipe_that_is_no_text_file_is_one_sentence(
    dataset: Path, tmp_path: Path, kind: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    if kind == "folder":
        recipe.mkdir()
    elif kind == "FIFO":
        os.mkfifo(recipe)
    else:
        recipe.write_bytes(b"name: \xff")
    said = run("plan", dataset, "--recipe", recipe, code=2)
    assert str(recipe) in said and "Traceback" not in said


SOURCE = """
from typing import ClassVar
from pydantic import Field
from nightrain.datasets.sources.base import SourceConfig

class Settings(SourceConfig):
    source: ClassVar[str] = "mine:Source"
    summary: ClassVar[str] = "Read mine."
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (SOURCE + "    workers: int = 3\n", "have the same option --workers"),
        (SOURCE + "    runner: str = ''\n", "have the same option --runner"),
        ("raise RuntimeError('no licence')", "cannot be imported (RuntimeError: no licence)"),
        ("import sys; sys.exit(3)", "cannot be imported (SystemExit: 3)"),
        ("Settings = 3", "is not a subclass of"),
        (SOURCE, "ROOT"),
    ],
    ids=["workers", "runner", "raises", "exits", "number", "no class"],
)
def test_a_source_of_another_package_that_is_broken_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    where = {"group": "nightrain.sources", "name": "mine", "module": "mine"}
    install(tmp_path / "site", monkeypatch, **where, code=code)
    said = run("ingest", "mine", "--out", tmp_path / "out", code=2)
    assert "Traceback" not in said and "mine" in said
    if words != "ROOT":
        assert words in said, said
    assert "world" in run_help("ingest", "--help")


def run_help(*arguments: str) -> str:
    out = StringIO()
    with redirect_stdout(out):
        run_in(*arguments)
    return out.getvalue()


def run_in(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nightrain", *arguments])
        with pytest.raises(SystemExit):
            main()
