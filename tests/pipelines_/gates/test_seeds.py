"""Further seeds: what gates reject is tried again, in order, and the same after an interruption."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.ids import sample_seed
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.plugins import install
from support.synthetic import all_rows

# Accepts a seed by one of its bits, so that of a variant's seeds some are accepted.
GATE = """
from typing import Literal

from nightrain.pipelines.gates.base import GateSettings, Measured, Rejection


class Settings(GateSettings):
    name: Literal["lucky"] = "lucky"
    luckiest: float = 0.5

    def version(self):
        return "1"

    def build(self):
        return lambda request, variant: Measured({"luck": request.seed % 1000 / 1000})

    def judge(self, scores, condition, severity):
        if scores["luck"] > self.luckiest:
            yield Rejection("unlucky", f"luck {scores['luck']}, expected at most {self.luckiest}")
"""
RECIPE = "name: lucky\ndepth: exact\nvariants_per_frame: 2\nconditions: {night: {}, fog: {}}\n"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = {"group": "nightrain.gates", "name": "lucky", "module": "lucky_gate"}
    install(tmp_path / "site", monkeypatch, **where, code=GATE)
    path = tmp_path / "lucky.yaml"
    path.write_text(RECIPE + "gates: [lucky]\n")
    return str(path)


def run(dataset: Path, recipe: str, stop_after: int = 0, **changes: Any) -> None:
    stop, done = Stop(), 0

    def on_rows(count: int) -> None:
        nonlocal done
        done += count
        if stop_after and done >= stop_after:
            stop.request()

    job = GenerateJob(dataset=dataset, recipe=recipe, max_rejected=1.0, **changes)
    generate(job, executor=SerialExecutor(stop), stop=stop, on_rows=on_rows)


def quarantined(dataset: Path) -> list[dict[str, Any]]:
    manifest = Manifest(dataset)
    latest = {
        (table, entry.shard.number): entry
        for table in manifest.tables("variants")
        for entry in manifest.entries(table)
    }
    return [
        row
        for entry in latest.values()
        if entry.quarantine
        for row in manifest.reader(entry.quarantine).rows()
    ]


def luck(seed: int) -> float:
    return seed % 1000 / 1000


def test_each_variant_has_the_first_seed_that_the_gates_accept(dataset: Path, recipe: str) -> None:
    run(dataset, recipe)
    rows, rejected = all_rows(dataset).values(), quarantined(dataset)
    assert len(rows) + len(rejected) == 40 and verify(dataset).accepted
    numbers = Counter(row["seed_number"] for row in rows)
    assert set(numbers) == {0, 1, 2} and numbers[0] > 10
    for row in rows:
        names = row["frame_id"], row["condition"], 0, row["variant_index"]
        seeds = [sample_seed(*names, number) for number in range(row["seed_number"] + 1)]
        assert row["seed"] == seeds[-1] and luck(seeds[-1]) <= 0.5 < min(
            map(luck, seeds[:-1]), default=1
        )
        before = json.loads(row["rejected_seeds"] or "[]")
        assert [found["seed"] for found in before] == seeds[:-1]
        assert all(found["codes"] == ["lucky.unlucky"] for found in before)
        assert [found["scores"]["lucky"]["luck"] for found in before] == list(map(luck, seeds[:-1]))
    third = next(row for row in rows if row["seed_number"] == 2)
    assert replay(dataset, third["sample_id"]).identical
    for row in rejected:
        names = row["frame_id"], row["condition"], 0, row["variant_index"]
        assert row["attempts"] == 3 and min(luck(sample_seed(*names, n)) for n in range(3)) > 0.5


def test_a_later_seed_keeps_the_severity(dataset: Path, recipe: str) -> None:
    run(dataset, recipe)
    run(dataset, recipe, no_gates=True)
    severities: dict[tuple[str, str, int], set[float]] = {}
    for row in all_rows(dataset).values():
        key = row["frame_id"], row["condition"], row["variant_index"]
        severities.setdefault(key, set()).add(row["severity"])
    assert len(severities) == 40 and all(len(found) == 1 for found in severities.values())


@pytest.mark.parametrize("stop_after", [1, 13])
def test_an_interrupted_run_ends_with_the_same_rows_in_the_same_order(
    dataset: Path, recipe: str, tmp_path: Path, stop_after: int
) -> None:
    import shutil

    whole = tmp_path / "whole"
    shutil.copytree(dataset, whole)
    run(whole, recipe)
    run(dataset, recipe, stop_after)
    assert len(all_rows(dataset)) < len(all_rows(whole))
    run(dataset, recipe)
    assert list(all_rows(dataset).items()) == list(all_rows(whole).items())
    names = [(row["sample_id"], row["codes"]) for row in quarantined(dataset)]
    assert names == [(row["sample_id"], row["codes"]) for row in quarantined(whole)]


def test_a_retry_tries_the_seeds_that_follow(dataset: Path, recipe: str) -> None:
    run(dataset, recipe)
    before, rejected = all_rows(dataset), quarantined(dataset)
    assert rejected
    run(dataset, recipe, retry_failed=True)
    added = {k: row for k, row in all_rows(dataset).items() if k not in before}
    assert added and {row["seed_number"] for row in added.values()} <= {3, 4, 5}
    assert set(added) <= {row["sample_id"] for row in rejected}
    left = quarantined(dataset)
    assert {row["attempts"] for row in left} <= {6} and len(added) + len(left) == len(rejected)


def test_one_seed_tries_no_other(dataset: Path, recipe: str) -> None:
    Path(recipe).write_text(Path(recipe).read_text() + "gate_seeds: 1\n")
    run(dataset, recipe)
    assert {row["seed_number"] for row in all_rows(dataset).values()} == {0}
    assert {row["attempts"] for row in quarantined(dataset)} == {1}
