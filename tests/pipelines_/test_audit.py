"""The audit of gates: fitted limits, areas under the ROC, and defects that are found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import write_world
from nightrain.pipelines.audit.defects import DEFECTS, Good, Others, erased, painted, pasted
from nightrain.pipelines.audit.fit import fitted
from nightrain.pipelines.audit.good_variants import paintings_of
from nightrain.pipelines.audit.job import AuditJob, audit_gates
from nightrain.pipelines.audit.report import area_under_curve, make_report, report_lines
from nightrain.pipelines.audit.samples import NO_DEFECT, AuditSample
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.base import GateSettings
from nightrain.pipelines.gates.built_in.picture_settings import AlignmentSettings, StructureSettings
from nightrain.pipelines.ingest.job import IngestJob, ingest
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.pictures import HEIGHT, WIDTH, blocks
from support.weather_street import request

FOG = Condition.FOG


def sample(agreement: float, defect: str = NO_DEFECT, half: int = 0) -> AuditSample:
    scores = {"alignment": {"agreement": agreement, "displacement": 0.0}}
    return AuditSample(defect, FOG, 0.5, half, scores)


def good(seed: int, vehicle: np.ndarray | None = None) -> Good:
    image = blocks(seed)
    asked = request(FOG, scene=(image, np.ones((HEIGHT, WIDTH), np.float32), np.eye(3)))
    return Good(f"scene-{seed}", asked, Variant(image=image // 2 + 60), vehicle, blocks(seed + 50))


def test_the_area_is_the_probability_that_a_bad_score_is_above_a_good_one() -> None:
    assert area_under_curve([1, 2, 3], [4, 5]) == 1
    assert area_under_curve([4, 5], [1, 2, 3]) == 0
    assert area_under_curve([1, 1], [1, 1]) == 0.5
    assert area_under_curve([1, 2], [1.5, 3]) == 0.75


def test_fitted_limits_reject_the_share_of_good_variants_that_they_may() -> None:
    samples = [sample(agreement) for agreement in np.linspace(0, 1, 201)]
    samples += [sample(-1.0, "mirrored")] * 50  # defects do not move the limit
    (gate,) = fitted([AlignmentSettings()], samples, 0.10)
    assert isinstance(gate, AlignmentSettings) and gate.for_version == "1"
    rejected = np.mean([bool(s.rejections([gate])) for s in samples[:201]])
    assert rejected <= 0.10 and gate.by_condition[FOG].least_agreement > -1
    assert all(s.rejections([gate]) for s in samples[201:])


def two_scores(rng: np.random.Generator, novel: float, defect: str = NO_DEFECT) -> AuditSample:
    """A sample whose agreement says nothing, and whose novelty tells a pasted vehicle."""
    scores = {
        "alignment": {"agreement": rng.normal(0.6, 0.1), "displacement": 0.0},
        "structure": {"lost": rng.uniform(0.1, 0.3), "novel": novel},
    }
    return AuditSample(defect, FOG, 0.5, 0, scores)


def test_the_gate_that_finds_the_defects_gets_most_of_what_may_be_rejected() -> None:
    rng = np.random.default_rng(0)
    good = [two_scores(rng, rng.normal(0.2, 0.05)) for _ in range(200)]
    bad = [two_scores(rng, rng.normal(0.33, 0.05), "vehicle pasted") for _ in range(200)]
    gates = [AlignmentSettings(), StructureSettings()]
    found = fitted(gates, good + bad, 0.05)
    scores = {gate.name: {FOG: [one.scores[gate.name] for one in good]} for gate in gates}
    even = [gate.fitted(scores[gate.name], {FOG: 0.05 / 3}) for gate in gates]

    def rejected(samples: list[AuditSample], limits: list[GateSettings]) -> float:
        return float(np.mean([bool(one.rejections(limits)) for one in samples]))

    assert rejected(good, found) <= 0.05
    assert rejected(bad, found) > rejected(bad, even) + 0.05


def test_each_half_is_judged_by_its_own_gates() -> None:
    samples = [sample(0.9), sample(0.3), sample(0.9, half=1)]
    samples += [sample(0.0, "mirrored", half=1), sample(0.9, "mirrored", half=1)]
    samples += [AuditSample("not a number", FOG, 0.9, 1, {}, unmeasured=True)]
    loose, strict = (AlignmentSettings(least_agreement=limit) for limit in (0.1, 0.5))
    report = make_report(samples, ([loose], [strict]), [strict])
    assert report.good.num_rejected == 0 and report.good.num_variants == 3
    assert make_report(samples, ([strict], [strict]), [strict]).good.num_rejected == 1
    assert report.gates == [{"name": "alignment", "least_agreement": 0.5}]
    mirrored = report.shares["mirrored"]["fog"]
    assert (mirrored.num_rejected, mirrored.num_variants) == (1, 2)
    assert report.recall(True).num_rejected == 1 and report.recall(False).num_rejected == 1
    assert report.by_severity["not a number"]["severe"].num_rejected == 1
    assert report.areas["alignment.agreement"]["mirrored"] == pytest.approx(2 / 6)
    assert report.precision == 1
    text = "\n".join(report_lines(report))
    assert "| mirrored | 50 % of 2 |" in text and "| none | 0 % of 3 |" in text


def test_a_vehicle_is_erased_and_pasted_where_it_is_known() -> None:
    box = np.zeros((HEIGHT, WIDTH), bool)
    box[150:200, 40:120] = True
    one, other = good(1, box), good(2, box)
    without = erased(one)
    assert without is not None and (without != one.image).any(axis=2)[box].mean() > 0.9
    assert np.array_equal(without[:140], one.image[:140])
    new = pasted(one, other)
    assert new is not None
    moved = np.roll(box, round(0.3 * WIDTH), axis=1)
    assert np.array_equal(new[~moved], one.image[~moved])
    assert np.array_equal(new[moved], other.image[box])
    assert erased(good(3)) is None and pasted(one, good(3)) is None


def test_a_painted_part_is_as_large_as_a_vehicle_and_leaves_the_rest() -> None:
    one = good(1)
    with_part = painted(one)
    assert with_part is not None and painted(one._replace(painting=None)) is None
    changed = (with_part != one.image).any(axis=2)
    assert 0.02 < changed.mean() < 0.12
    assert np.array_equal(with_part[: HEIGHT // 3], one.image[: HEIGHT // 3])
    other_side = painted(one._replace(request=replace(one.request, seed=one.request.seed + 1)))
    assert other_side is not None
    left, right = ((p != one.image)[:, : WIDTH // 2].any() for p in (with_part, other_side))
    assert left != right


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_changes_the_picture(name: str) -> None:
    box = np.zeros((HEIGHT, WIDTH), bool)
    box[150:200, 40:120] = True
    one = good(1, box)
    broken = DEFECTS[name].seed(one, Others(frame=good(2, box), weather=good(3)))
    assert broken is not None and broken.shape == one.image.shape
    assert np.abs(broken.astype(float) - one.image).mean() != 0  # also where it is not a number


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four val places of the built-in world by day and at night, as a dataset and as rendered."""
    folder, stop = tmp_path_factory.mktemp("audit"), Stop()
    conditions = (Condition.CLEAR, Condition.NIGHT)
    scenes = [SceneSpec(place=n, condition=c, split="val") for n in range(4) for c in conditions]
    write_world(folder / "world", scenes=scenes, frames=2, seed=5, size=(224, 128), sweeps="none")
    config = WorldConfig(root=folder / "world", neighbours=False)
    job = IngestJob(source="world", config=config, dataset=folder / "dataset", split="all")
    assert not ingest(job, executor=SerialExecutor(stop), stop=stop).failed
    return folder / "dataset", folder / "world"


def test_an_audit_finds_gross_defects_in_rendered_streets(street: tuple[Path, Path]) -> None:
    dataset, world = street
    job = AuditJob(dataset=dataset, recipe="weather-demo", frames=8, world=world)
    report = audit_gates(job)
    assert "painted without control" not in report.shares
    assert report.num_good == 8 * len(report.conditions) and len(report.gates) == 3
    for name in ("other frame", "shifted by 8 %", "mirrored", "black", "flat", "not a number"):
        for share in report.shares[name].values():
            assert share.num_rejected == share.num_variants > 0, name
    assert report.areas["alignment.agreement"]["other frame"] == 0
    twins = report.shares["recorded twin"]
    assert {condition: share.num_variants for condition, share in twins.items()} == {
        condition: 8 if condition == "night" else 0 for condition in report.conditions
    }
    json.loads(report.model_dump_json())


def test_an_audit_of_nothing_is_refused(street: tuple[Path, Path]) -> None:
    dataset, world = street
    for changes, words in (
        ({"split": "test"}, "has no clear frames in split 'test'"),
        ({"gates": ("sharp",)}, "no gate 'sharp'"),
        ({"gates": ("depth",)}, "--gates: models is missing. Settings of gates are those"),
        ({"world": dataset}, "has no classes of"),
        ({"painter": "weather"}, "has the engine 'weather', expected 'diffusion'"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            audit_gates(AuditJob(dataset=dataset, recipe="weather-demo", frames=4, **changes))
    assert world.is_dir()


def test_a_diffusion_model_paints_without_its_control(street: tuple[Path, Path]) -> None:
    dataset, _ = street
    paintings = paintings_of(dataset, load_recipe("diffusion-world", dataset), "val", 2)
    assert len({frame_id for frame_id, _ in paintings}) == 2
    assert {p.shape for p in paintings.values()} == {(128, 224, 3)}
    job = AuditJob(dataset=dataset, recipe="weather-demo", frames=4, painter="diffusion-world")
    shares = audit_gates(job).shares["painted without control"]
    assert sum(share.num_variants for share in shares.values()) > 0
