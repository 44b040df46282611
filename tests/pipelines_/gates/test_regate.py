"""Regating equals generating with the other limits, without an engine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import recipe_records
from nightrain.datasets.shards.reviews import Review, write_review
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.engines.weather import engine as weather_engine
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.regate.job import RegateJob, RegateReport, regate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.marks import unmarked
from support.synthetic import all_rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PLAIN = "name: limits\ndepth: exact\nconditions: {night: {}, fog: {}}\ngate_seeds: 1\n"


def written(folder: Path, gates: str, name: str = "limits") -> str:
    path = folder / f"{name}.yaml"
    path.write_text(PLAIN.replace("limits", name) + gates)
    return str(path)


def bright(least: float) -> str:
    return f"gates: [{{name: faults, least_highlight: {least}}}]\n"


def generated(dataset: Path, recipe: str) -> None:
    stop = Stop()
    job = GenerateJob(dataset=dataset, recipe=recipe, max_rejected=1.0)
    assert not generate(job, executor=SerialExecutor(stop), stop=stop).failed


def regated(dataset: Path, recipe: str) -> RegateReport:
    stop = Stop()
    job = RegateJob(dataset=dataset, recipe=recipe)
    report = regate(job, executor=SerialExecutor(stop), stop=stop)
    assert not report.run.failed
    return report


def stored(dataset: Path, recipe: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of the recipe's tables, and those in quarantine, by sample id."""
    manifest, rejected = Manifest(dataset), {}
    tables = load_recipe(recipe).tables
    rows = {k: row for table in tables for k, row in all_rows(dataset, table).items()}
    for table in tables:
        for entry in manifest.entries(table):
            if entry.quarantine:
                found = manifest.reader(entry.quarantine).rows()
                rejected |= {row["sample_id"]: row for row in found}
    for row in rejected.values():
        row.pop("created_at")
        row["variant"] = row["variant"] and row["variant"].split('"created_at"')[0]
    return rows, rejected


def pictures(rows: dict[str, Any]) -> set[bytes]:
    """Pictures without their marks, which name the recipe."""
    return {unmarked(row["image"]["bytes"]) for row in rows.values()}


@pytest.fixture
def levels(dataset: Path, tmp_path: Path) -> tuple[float, float]:
    """Limits of the 99th percentile that reject a few and most of the variants."""
    import json

    recipe = written(tmp_path, bright(0), "levels")
    generated(dataset, recipe)
    scores = [json.loads(r["gate_scores"])["faults"] for r in stored(dataset, recipe)[0].values()]
    highlights = sorted(score["highlight"] for score in scores)
    assert highlights[4] < highlights[14]
    return highlights[4] + 0.01, highlights[14] + 0.01


@pytest.mark.parametrize("stricter", [True, False])
def test_regated_variants_are_those_that_generating_would_have_made(
    dataset: Path, tmp_path: Path, levels: tuple[float, float], stricter: bool
) -> None:
    import shutil

    before, after = levels if stricter else levels[::-1]
    fresh = tmp_path / "fresh"
    shutil.copytree(dataset, fresh)
    generated(dataset, written(tmp_path, bright(before)))
    recipe = written(tmp_path, bright(after))
    generated(fresh, recipe)
    report = regated(dataset, recipe)
    rows, rejected = stored(dataset, recipe)
    expected, expected_rejected = stored(fresh, recipe)
    assert rows == expected and rejected == expected_rejected and rows and rejected
    assert verify(dataset).accepted
    changes = report.conditions.values()
    changed = sum(c.newly_rejected if stricter else c.newly_accepted for c in changes)
    assert changed > 0 == sum(c.newly_accepted if stricter else c.newly_rejected for c in changes)
    assert sum(c.accepted + c.newly_accepted for c in changes) == len(rows)
    assert sum(c.rejected + c.newly_rejected for c in changes) == len(rejected)
    records = recipe_records(dataset)["limits"]
    assert dict(records[-1].settings) == load_recipe(recipe).tables


def test_nothing_is_generated(
    dataset: Path, tmp_path: Path, levels: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weather_engine.WeatherEngine, "generate", None)
    assert regated(dataset, written(tmp_path, bright(levels[0]))).run.num_rows > 0


def test_inverted_gates_keep_what_they_reject_and_nothing_else(
    dataset: Path, tmp_path: Path, levels: tuple[float, float]
) -> None:
    import shutil

    limits = bright(levels[0])
    recipe = written(tmp_path, limits)
    generated(dataset, recipe)
    rows, rejected = stored(dataset, recipe)
    fresh = tmp_path / "fresh"
    shutil.copytree(dataset, fresh)
    inverted = written(tmp_path, limits + "gates_inverted: true\n", "worse")
    regated(dataset, inverted)
    now, rejected_now = stored(dataset, inverted)
    assert pictures(now) == pictures(rejected) and pictures(rejected_now) == pictures(rows)
    assert {tuple(row["codes"]) for row in rejected_now.values()} == {("inverted.accepted",)}
    assert pictures(now) and pictures(rejected_now)
    generated(fresh, inverted)
    assert stored(fresh, inverted) == (now, rejected_now)
    with pytest.raises(InvalidRequest, match="no gates that could reject anything"):
        load_recipe(written(tmp_path, "gates_inverted: true\n"))


def test_verdicts_of_people_count_more_than_limits(
    dataset: Path, tmp_path: Path, levels: tuple[float, float]
) -> None:
    recipe = written(tmp_path, bright(levels[0]))
    generated(dataset, recipe)
    rows, rejected = stored(dataset, recipe)
    out, back = sorted(rows)[0], sorted(rejected)[0]
    for name, verdict in ((out, "reject"), (back, "accept")):
        fields = {"sample_id": name, "verdict": verdict, "reason": "blurred", "created_at": NOW}
        write_review(dataset, Review.model_validate(fields))
    other = written(tmp_path, bright(levels[0] + 0.001))
    report = regated(dataset, other)
    now, rejected_now = stored(dataset, other)
    changes = report.conditions.values()
    assert sum(c.newly_accepted for c in changes) == sum(c.newly_rejected for c in changes) == 1
    assert len(now) == len(rows)
    words = {r["message"] for r in rejected_now.values() if r["codes"] == ["review"]}
    assert words == {"a person rejected it: blurred"}


def test_regating_twice_changes_nothing(
    dataset: Path, tmp_path: Path, levels: tuple[float, float]
) -> None:
    recipe = written(tmp_path, bright(levels[0]))
    first, again = regated(dataset, recipe), regated(dataset, recipe)
    assert first.run.num_rows > 0 == again.run.num_rows
    assert again.conditions == first.conditions


def test_a_gate_that_did_not_measure_is_refused(
    dataset: Path, tmp_path: Path, levels: tuple[float, float]
) -> None:
    for gates, words in (
        ("gates: [faults, structure]\n", r"no scores of structure 1, which recipe 'limits' needs"),
        ("", "has no gates, so there is nothing to judge by"),
        (bright(3) + "seed: 5\n", "no night variants with the settings of recipe 'limits'"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            regated(dataset, written(tmp_path, gates))
