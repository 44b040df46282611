"""Tables of the restoration study, of scores with known changes."""

from typing import Any

import pytest

from nightrain.benchmarks.restoration_arms import ARMS, WEATHER
from nightrain.benchmarks.restoration_figure import restoration_figure
from nightrain.benchmarks.restoration_tables import table_lines
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH


def _score(rmse_m: float, night_rmse_m: float | None = None) -> dict[str, Any]:
    """Scores of 8 frames of 4 places per condition, which are all the same."""
    of_condition = {c.value: rmse_m for c in WEATHER} | {"night": night_rmse_m or rmse_m}
    rows = [
        {"place": f"place-{index % 4}", "condition": condition, "rmse": rmse, "abs_rel": 0.1}
        | {"d1": 0.9, "deviation": 0.01, "rmse_of_steps": [rmse + 1, rmse]}
        for condition, rmse in of_condition.items()
        for index in range(8)
    ]
    return {"rows": {"none": rows, "right": rows, "wrong": rows}, "parameters": 3_000_000}


def _row(lines: list[str], words: str) -> list[str]:
    line, *_ = [line for line in "\n".join(lines).splitlines() if line.startswith(f"| {words} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_changes_are_against_the_base_of_the_same_seed() -> None:
    """Seed 1 is twice as bad with every arm; at night the arm is 20 % better, otherwise 10 %."""
    base = {0: _score(4.0), 1: _score(8.0)}
    arm = {0: _score(3.6, 3.2), 1: _score(7.2, 6.4)}
    words = {arm.name: arm.words for arm in ARMS}
    lines = table_lines({"base": base, "diffusion": arm, MEDIAN_DEPTH: {0: _score(9.0)}})
    clear, night, _ = _row(lines, words["diffusion"])[-3:]
    assert (clear, night) == ("-10.0 ± 0.0 %", "-20.0 ± 0.0 %")
    assert _row(lines, words["base"])[-3:] == ["-", "-", "-"]
    assert _row(lines, "constant median depth")[3:7] == ["9.00"] * 4
    steps = "\n".join(lines).split("step deviation")[1]
    assert "6.250, 5.250" in steps  # mean over seeds and conditions


def test_the_figure_has_a_dot_per_arm_and_panel_and_marks_the_constant() -> None:
    by_arm = {"base": {0: _score(4.0)}, "diffusion": {0: _score(3.6)}}
    plain = restoration_figure(by_arm)
    assert plain.count("<circle") == 6 and ">base<" in plain and ">diffusion<" in plain
    marked = restoration_figure(by_arm | {MEDIAN_DEPTH: {0: _score(9.0)}})
    assert marked.count("<circle") == 6
    assert marked.count('stroke-width="2"') == plain.count('stroke-width="2"') + 2


def test_a_seed_without_base_has_no_change() -> None:
    lines = table_lines({"base": {0: _score(4.0)}, "diffusion": {1: _score(2.0)}})
    assert _row(lines, "R1: diffusion, T = 4")[-3:] == ["-", "-", "-"]


def test_a_world_without_rainy_nights_has_no_column_of_them() -> None:
    score = _score(4.0)
    score["rows"] = {
        view: [row for row in rows if row["condition"] != "night-rain"]
        for view, rows in score["rows"].items()
    }
    lines = "\n".join(table_lines({"base": {0: score}, "stereo": {0: score}}))
    assert "night-rain" not in lines and "| night: RMSE m |" in lines and "nan" not in lines
    assert "<circle" in restoration_figure({"base": {0: score}})


@pytest.mark.parametrize("name", [arm.name for arm in ARMS])
def test_names_of_arms_are_unique_and_each_has_a_row(name: str) -> None:
    arm = next(arm for arm in ARMS if arm.name == name)
    rows = [
        line
        for line in "\n".join(table_lines({name: {0: _score(4.0)}})).splitlines()
        if line.startswith(f"| {arm.words} ")
    ]

    expected = len(arm.scored) + (arm.restoration is not None) + max(len(arm.scored) - 1, 0)
    assert len(rows) == expected
