"""Gates of other packages: variants keep their scores, rejected ones the reason and the picture."""

import json
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import recipe_records
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.preview import preview_lines
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.plugins import install
from support.synthetic import all_rows

GROUP = "nightrain.gates"
GATE = """
from typing import Literal

from nightrain.pipelines.gates.base import GateSettings, Measured, Rejection


class Settings(GateSettings):
    name: Literal["dark-enough"] = "dark-enough"
    brightest: float = 60.0

    def version(self):
        return "2"

    def build(self):
        return self._measure

    def _measure(self, request, variant):
        image = variant.image
        assert image.shape == request.image.shape
        if self.brightest < 0:
            raise RuntimeError("no light meter")
        return Measured({"mean": float(image.mean())})

    def judge(self, scores, condition, severity):
        mean = scores["mean"]
        if mean > self.brightest:
            reason = f"mean level {mean:.0f}, expected at most {self.brightest:.0f}"
            yield Rejection("bright", reason)
"""
PLAIN = "name: gated\ndepth: exact\nconditions: {night: {lowest: 0.2, highest: 0.8}, fog: {}}\n"
GATED = PLAIN + "gates: [{name: dark-enough, brightest: 60}]\n"


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"group": GROUP, "name": "dark-enough", "module": "dark_gate"}
    install(tmp_path / "site", monkeypatch, **where, code=GATE)


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def run(dataset: Path, recipe: str, **changes: object) -> RunReport:
    stop = Stop()
    job = GenerateJob(dataset=dataset, recipe=recipe, **changes)  # type: ignore[arg-type]
    return generate(job, executor=SerialExecutor(stop), stop=stop)


def quarantined(dataset: Path) -> list[dict]:
    manifest = Manifest(dataset)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    return [r for e in entries if e.quarantine for r in manifest.reader(e.quarantine).rows()]


def test_accepted_variants_are_rows_and_rejected_ones_are_quarantined(
    gate: None, dataset: Path, tmp_path: Path
) -> None:
    report = run(dataset, written(tmp_path, GATED))
    rows, rejected = all_rows(dataset).values(), quarantined(dataset)
    assert rows and rejected and len(rows) + len(rejected) == 20 and not report.failed
    assert verify(dataset).accepted
    for row in rows:
        mean = decode_jpeg(row["image"]["bytes"]).mean()
        stored = json.loads(row["gate_scores"])["dark-enough"]["mean"]
        assert stored == pytest.approx(mean, abs=2) and stored <= 60
        assert row["gates"] == "dark-enough 2" and row["seed_number"] == 0
        assert row["confidence"] is None and row["rejected_seeds"] is None
    assert {(r["reason"], r["attempts"]) for r in rejected} == {("gate_rejected", 3)}
    assert all("gate 'dark-enough': mean level" in r["message"] for r in rejected)
    assert {r["condition"] for r in rejected} == {"fog"}
    assert all(r["codes"] == ["dark-enough.bright"] for r in rejected)
    assert all(decode_jpeg(r["image"]["bytes"]).mean() > 60 for r in rejected)
    tiles = next(preview_lines(dataset, load_recipe(str(tmp_path / "recipe.yaml")), 1))
    assert [t.label.startswith("fog: gate 'dark-enough': mean level") for t in tiles][-1]
    assert run(dataset, str(tmp_path / "recipe.yaml"), retry_failed=True).num_rows == 0


def test_a_gate_that_fails_quarantines_what_it_could_not_judge(
    gate: None, dataset: Path, tmp_path: Path
) -> None:
    report = run(dataset, written(tmp_path, GATED.replace("60}", "-1}")))
    assert report.num_rows == 0 and not report.failed
    assert {(r["reason"], r["message"]) for r in quarantined(dataset)} == {
        ("gate_error", "gate 'dark-enough': RuntimeError: no light meter")
    }


def test_a_measurement_that_is_none_is_a_failure_of_the_gate(
    gate: None, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = GATE.replace('return Measured({"mean": float(image.mean())})', "return None")
    where = {"group": GROUP, "name": "dark-enough", "module": "dark_gate"}
    install(tmp_path / "broken", monkeypatch, **where, code=broken)
    run(dataset, written(tmp_path, GATED))
    night = [r for r in quarantined(dataset) if r["condition"] == "night"]
    assert {r["reason"] for r in night} == {"gate_error"} and "returned None" in night[0]["message"]


@pytest.mark.parametrize("score", ["'high'", "float('nan')", "float('inf')"])
def test_a_score_that_is_not_a_finite_number_is_a_failure_of_the_gate(
    gate: None, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    broken = GATE.replace("float(image.mean())", score)
    where = {"group": GROUP, "name": "dark-enough", "module": "dark_gate"}
    install(tmp_path / "broken", monkeypatch, **where, code=broken)
    assert not run(dataset, written(tmp_path, GATED)).failed
    night = [r for r in quarantined(dataset) if r["condition"] == "night"]
    assert {r["reason"] for r in night} == {"gate_error"}
    assert "expected Measured with finite scores" in night[0]["message"]


def test_limits_for_another_version_are_refused(gate: None, tmp_path: Path) -> None:
    ours, other = (GATED.replace("60}", f"60, for_version: '{n}'}}") for n in (2, 1))
    assert load_recipe(written(tmp_path, ours)).gates[0].for_version == "2"
    with pytest.raises(InvalidRequest, match="chosen for version 1; version 2 is installed"):
        load_recipe(written(tmp_path, other))


def test_without_gates_variants_go_to_tables_of_their_own(
    gate: None, dataset: Path, tmp_path: Path
) -> None:
    recipe = written(tmp_path, GATED)
    run(dataset, recipe)
    report = run(dataset, recipe, no_gates=True)
    assert report.num_rows == 20 and not report.warnings and not report.over_limit
    rows = [row for table in report.tables for row in all_rows(dataset, table).values()]
    assert len(rows) == 20 and {row["gates"] for row in rows} == {None}
    assert {r.name for records in recipe_records(dataset).values() for r in records} == {
        "gated",
        "gated-no-gates",
    }
    assert run(dataset, recipe).num_rows == 0


def test_a_run_whose_gates_reject_too_much_has_not_succeeded(
    gate: None, dataset: Path, tmp_path: Path
) -> None:
    strict = written(tmp_path, GATED.replace("60}", "1}"))
    report = run(dataset, strict)
    assert "20 gate_rejected" in report.over_limit and "--max-rejected 100%" in report.over_limit
    assert not run(dataset, strict, max_rejected=1.0).over_limit


def test_a_gate_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidRequest,
        match=r"no gate 'dark-enough'. Installed: alignment, clip, condition, depth, faults, "
        r"joint, self-similarity, structure",
    ):
        load_recipe(written(tmp_path, GATED))


def test_gates_and_their_versions_decide_the_hash(gate: None, tmp_path: Path) -> None:
    plain, empty = (load_recipe(written(tmp_path, t)) for t in (PLAIN, PLAIN + "gates: []\n"))
    gated = load_recipe(written(tmp_path, GATED))
    assert plain.hash == empty.hash != gated.hash and gated.gate_versions == ("2",)
    assert load_recipe(written(tmp_path, GATED.replace("60", "70"))).hash != gated.hash
    assert gated.model_copy(update={"gate_versions": ("3",)}).hash != gated.hash
    assert Recipe.model_validate_json(gated.model_dump_json()) == gated


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("dark-enough", "sharp"),
            "no gate 'sharp'. Installed: alignment, clip, condition, dark-enough, depth, faults",
        ),
        (
            ("brightest", "brighter"),
            r"gates\.0: brighter is not an option; expected one of name, for_version, brightest",
        ),
        (("[{name: dark-enough, brightest: 60}]", "[dark-enough, dark-enough]"), "each gate once"),
        (("[{name: dark-enough, brightest: 60}]", "[3]"), "expected a name or a mapping"),
    ],
)
def test_bad_gates_are_refused_when_the_recipe_is_loaded(
    gate: None, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        load_recipe(written(tmp_path, GATED.replace(*change)))
