"""Drift: what differs is found, what is alike is not, and what cannot be compared is said."""

from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.upkeep.changes import replace_entry
from nightrain.pipelines.drift.features import component_measures
from nightrain.pipelines.drift.job import FEWEST, DriftJob, NothingToCompare, measure_drift
from nightrain.pipelines.drift.measures import measures_of
from nightrain.pipelines.inspect.picture_measures import picture_measures
from nightrain.pipelines.recipes.recipe import SeverityRange
from support.synthetic import SyntheticSource, ingest_synthetic, recipe
from support.training import add_variants

MILD, SEVERE = (
    recipe(Condition.FOG, name=name, conditions={Condition.FOG: SeverityRange(lowest=a, highest=b)})
    for name, a, b in (("mild", 0.1, 0.2), ("severe", 0.7, 0.8))
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fog of 48 clear frames, mild and severe, and one recorded night."""
    root = tmp_path_factory.mktemp("drift") / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=48), frames_per_shard=8)
    for one in (MILD, SEVERE):
        add_variants(root, one)
    return root


def test_measures_of_a_picture() -> None:
    grey = np.full((40, 64, 3), 100, np.uint8)
    found = picture_measures(grey)
    assert found["luma"] == pytest.approx(100, abs=0.1) and found["span of luma"] == 0
    assert found["red over blue"] == pytest.approx(1) and found["dark share"] == 0
    red = grey.copy()
    red[..., 0], red[:20] = 200, 0
    assert picture_measures(red)["red over blue"] > 1.5
    assert picture_measures(red)["dark share"] == pytest.approx(0.5, abs=0.05)


def test_rows_without_a_measure_have_nan() -> None:
    data = {"bytes": encode_jpeg(np.full((40, 64, 3), 100, np.uint8))}
    rows = [
        {"image": data, "severity": 0.5, "gate_scores": '{"structure": {"lost": 0.25}}'},
        {"image": data, "severity": None, "gate_scores": None},
    ]
    found = measures_of(rows)
    assert found["structure.lost"][0] == 0.25 and np.isnan(found["structure.lost"][1])
    assert np.isnan(found["severity"][1]) and found["luma"].shape == (2,)


def test_other_pictures_are_found_and_equal_ones_are_not(root: Path) -> None:
    report = measure_drift(DriftJob(dataset=root, recipe="severe", against="mild"))
    by_name = {one.measure: one for one in report.measures}
    luma, severity = by_name["luma"], by_name["severity"]
    assert luma.drifted and luma.distance > 0.9 and luma.median < luma.median_against
    assert severity.drifted and severity.distance == 1 and severity.num == 48
    assert 0.7 < severity.median < 0.8 and report.measures[0].distance == 1
    same = measure_drift(DriftJob(dataset=root, recipe="mild", against="mild"))
    assert same.measures and all(one.distance == 0 for one in same.measures) and not same.drifted
    lenient = measure_drift(DriftJob(dataset=root, recipe="severe", against="mild", most=1))
    assert not lenient.drifted


def test_features_tell_sets_of_pictures_apart_and_equal_ones_not(root: Path) -> None:
    job = DriftJob(dataset=root, recipe="severe", against="mild", features=True)
    by_name = {one.measure: one for one in measure_drift(job).measures}
    assert by_name["features, component 1"].drifted
    assert {f"features, component {number}" for number in (1, 2, 3, 4)} <= by_name.keys()
    same = measure_drift(DriftJob(dataset=root, recipe="mild", against="mild", features=True))
    assert not same.drifted


def test_components_are_the_directions_in_which_both_sides_vary_most() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(0, 1, (200, 6))
    theirs[:, 5] = 7.0  # constant: counts for nothing
    ours = theirs.copy()
    ours[:, 2] += 8
    first, second = component_measures(ours, theirs)
    found = first["features, component 1"] - second["features, component 1"]
    assert np.abs(found) == pytest.approx(8 / theirs[:, 2].std(), rel=0.02)
    shifted = first["features, component 2"] - second["features, component 2"]
    assert np.abs(shifted).max() < 0.5


def test_few_pictures_say_nothing(root: Path) -> None:
    assert FEWEST == 20
    severities = {Condition.FOG: SeverityRange(lowest=0.4, highest=0.5)}
    add_variants(root, recipe(Condition.FOG, name="few", conditions=severities), numbers=(0,))
    with pytest.raises(InvalidRequest, match="fewer than 20 pictures"):
        measure_drift(DriftJob(dataset=root, recipe="few", against="mild"))


def test_the_latest_day_is_compared_with_those_before(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="committed on one day"):
        measure_drift(DriftJob(dataset=root, recipe="mild"))
    manifest = Manifest(root)
    for entry in manifest.entries(MILD.table(Condition.FOG))[:3]:
        replace_entry(manifest, entry.model_copy(update={"created_at": "2026-01-01T00:00:00"}))
    report = measure_drift(DriftJob(dataset=root, recipe="mild"))
    counts = {(one.num, one.num_against) for one in report.measures}
    assert counts == {(24, 24)} and not report.drifted


def test_what_cannot_be_compared_is_said(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="there are no recorded fog frames"):
        measure_drift(DriftJob(dataset=root, recipe="mild", against="recorded"))
    with pytest.raises(InvalidRequest, match="no variants called 'nothing'"):
        measure_drift(DriftJob(dataset=root, recipe="mild", against="nothing"))


def test_a_drift_is_said_in_one_line_and_nothing_to_compare_is_no_drift(root: Path) -> None:
    report = measure_drift(DriftJob(dataset=root, recipe="severe", against="mild"))
    assert report.line.startswith(f"{len(report.drifted)} of {len(report.measures)} measures")
    assert "; fog " in report.line and "median" in report.line
    with pytest.raises(NothingToCompare, match="all shards were committed on one day"):
        measure_drift(DriftJob(dataset=root, recipe="severe"))
