"""Gates of other packages: accepted variants keep the confidence, rejected ones the reason."""

import json
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import Manifest
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

from nightrain.pipelines.gates.base import GateAccepted, GateRejected, GateSettings


class Settings(GateSettings):
    name: Literal["dark-enough"] = "dark-enough"
    brightest: float = 60.0

    def version(self):
        return "2"

    def build(self):
        return self._judge

    def _judge(self, request, variant):
        image = variant.image
        assert image.shape == request.image.shape
        if self.brightest < 0:
            raise RuntimeError("no light meter")
        mean = float(image.mean())
        if mean > self.brightest:
            return GateRejected(f"mean level {mean:.0f}, expected at most {self.brightest:.0f}")
        return GateAccepted(confidence=1 - mean / 255)
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
        confidence = float(json.loads(row["provenance"])["gate_dark-enough"])
        mean = decode_jpeg(row["image"]["bytes"]).mean()
        assert confidence == pytest.approx(1 - mean / 255, abs=0.01) and mean < 62
    assert {(r["reason"], r["attempts"]) for r in rejected} == {("gate_rejected", 1)}
    assert all("gate 'dark-enough': mean level" in r["message"] for r in rejected)
    assert {r["condition"] for r in rejected} == {"fog"}
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


def test_a_verdict_that_is_none_is_a_failure_of_the_gate(
    gate: None, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = GATE.replace("return GateAccepted(confidence=1 - mean / 255)", "return None")
    where = {"group": GROUP, "name": "dark-enough", "module": "dark_gate"}
    install(tmp_path / "broken", monkeypatch, **where, code=broken)
    run(dataset, written(tmp_path, GATED))
    night = [r for r in quarantined(dataset) if r["condition"] == "night"]
    assert {r["reason"] for r in night} == {"gate_error"} and "returned None" in night[0]["message"]


def test_a_confidence_that_is_not_a_number_is_a_failure_of_the_gate(
    gate: None, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = GATE.replace("confidence=1 - mean / 255", "confidence='high'")
    where = {"group": GROUP, "name": "dark-enough", "module": "dark_gate"}
    install(tmp_path / "broken", monkeypatch, **where, code=broken)
    assert not run(dataset, written(tmp_path, GATED)).failed
    night = [r for r in quarantined(dataset) if r["condition"] == "night"]
    assert {r["reason"] for r in night} == {"gate_error"} and "'high'" in night[0]["message"]


def test_a_gate_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=r"no gate 'dark-enough'. Installed: alignment, faults, structure"
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
            "no gate 'sharp'. Installed: alignment, dark-enough, faults, structure",
        ),
        (
            ("brightest", "brighter"),
            r"gates\.0: brighter is not an option; expected one of name, brightest",
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
