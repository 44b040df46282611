"""Gate statistics: each variant counts once, and each rejection of a seed is a reason."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from nightrain.datasets.shards.manifest import Manifest
from nightrain.flows.cli import main
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.inspect.gate_stats import gate_stats
from nightrain.pipelines.inspect.stats import dataset_stats
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows

RECIPE = "name: counted\ndepth: exact\nconditions: {{night: {{}}}}\ngate_seeds: 2\ngates: {gates}\n"


def generated(dataset: Path, folder: Path, gates: str) -> str:
    path, stop = folder / "recipe.yaml", Stop()
    path.write_text(RECIPE.format(gates=gates))
    job = GenerateJob(dataset=dataset, recipe=str(path), max_rejected=1.0)
    (table,) = generate(job, executor=SerialExecutor(stop), stop=stop).tables
    return table


def changes(dataset: Path, table: str) -> list[float]:
    scores = [json.loads(row["gate_scores"]) for row in all_rows(dataset, table).values()]
    return sorted(score["faults"]["change"] for score in scores)


def test_counts_are_those_of_rows_and_seeds(dataset: Path, tmp_path: Path) -> None:
    free = generated(dataset, tmp_path, "[faults]")
    limit = changes(dataset, free)[6]
    table = generated(dataset, tmp_path, f"[{{name: faults, least_change: {limit}}}]")
    found = gate_stats(Manifest(dataset), Manifest(dataset).entries(table))
    rows = list(all_rows(dataset, table).values())
    assert found is not None and found.gates == ("faults 1",)
    assert found.num_accepted == len(rows) and found.num_accepted + found.num_rejected == 10
    assert found.by_seed_number == dict(sorted(Counter(r["seed_number"] for r in rows).items()))
    # Each variant that is not of the first seed, and each rejected one, was rejected before.
    late = sum(row["seed_number"] for row in rows)
    assert found.codes == {"faults.unchanged": late + 2 * found.num_rejected}
    assert found.num_rejected > 0
    histogram = found.scores["faults.change"]
    assert sum(histogram.accepted) == len(rows)
    assert sum(histogram.rejected) == found.codes["faults.unchanged"]
    assert histogram.lowest < limit <= histogram.highest


def test_tables_without_gates_have_no_such_statistics(dataset: Path, tmp_path: Path) -> None:
    generated(dataset, tmp_path, "[]")
    assert all(table.gates is None for table in dataset_stats(dataset).tables.values())


def test_stats_print_them(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generated(dataset, tmp_path, "[{name: faults, least_change: 255}]")
    monkeypatch.setattr(sys, "argv", ["nightrain", "stats", str(dataset)])
    with pytest.raises(SystemExit):
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert "0 of 10 variants accepted (0.0%), 0 with their first seed" in said
    assert "rejected, with earlier seeds: faults.unchanged 20" in said
    assert "faults.change" in said and "█" in said
