"""Progress bars: totals, rates that mean something, and one rank that prints."""

import time

import pytest

from nightrain.flows.cli import console
from nightrain.flows.cli.console import progress_bar, say


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_a_bar_that_never_moved_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("variants", 0):
        pass
    with progress_bar("frames") as bar:
        bar.expect(6)
    assert not capsys.readouterr().err.strip()


def test_work_of_a_moment_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("rows", 85_552) as bar:
        bar.add(85_552)
    shown = capsys.readouterr().err
    assert "85552/85552" in shown and "/s" not in shown


def test_a_rate_is_that_of_this_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run did, as the first call says, does not count."""
    monkeypatch.setattr(console, "LEAST_RATED_S", 0.05)
    with progress_bar("images", 1000) as bar:
        bar.reach(990, 1000)
        time.sleep(0.2)
        bar.reach(1000, 1000)
    shown = capsys.readouterr().err
    rate = float(shown.split("/s")[0].split()[-1])
    assert "1000/1000" in shown and 0 < rate <= 11 / 0.2


@pytest.mark.parametrize(("rank", "prints"), [("0", True), ("1", False), ("", True), ("3", False)])
def test_only_the_first_rank_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rank: str, prints: bool
) -> None:
    monkeypatch.setenv("RANK", rank)
    with progress_bar("steps", 2) as bar:
        bar.add(2)
    console.console().print("report")
    say("line")
    shown = capsys.readouterr()
    assert bool(shown.err) == prints and (shown.out.split() == ["report", "line"]) == prints
    assert prints or not shown.out
