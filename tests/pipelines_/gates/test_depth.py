"""The gate of depth: identities of the comparison, and real networks through a recipe."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.built_in.depth import DepthGate, RelativeNetwork, compare_depth
from nightrain.pipelines.gates.built_in.network_settings import DepthSettings
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.gating import verdict_of
from support.synthetic import all_rows
from support.tiny_depth_models import save_teacher
from support.tiny_depth_networks import save_dpt
from support.weather_street import picture, request

HEIGHT, WIDTH = 96, 160
NO_DIFFERENCE = {"nearer": 0, "farther": 0, "appeared": 0, "error": 0}
BOX = np.s_[40:70, 60:100]


def ramp() -> np.ndarray:
    return np.repeat(np.linspace(40, 4, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)


def scores(seen_m: np.ndarray, visible: np.ndarray | None = None) -> dict[str, float]:
    shown = np.ones((HEIGHT, WIDTH), np.float32) if visible is None else visible
    return dict(compare_depth(ramp(), seen_m, shown).scores)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_a_common_scale_is_no_difference(scale: float) -> None:
    assert scores(scale * ramp()) == pytest.approx(NO_DIFFERENCE, abs=1e-5)


@pytest.mark.parametrize(("factor", "name"), [(0.4, "nearer"), (2.5, "farther")])
def test_the_worst_window_has_the_logarithm_of_what_changed(factor: float, name: str) -> None:
    seen = ramp()
    seen[BOX] *= factor
    found = scores(seen)
    assert found[name] == pytest.approx(abs(np.log(factor)), abs=0.01)
    assert found["nearer" if name == "farther" else "farther"] == pytest.approx(0, abs=0.01)
    share = 30 * 40 / (HEIGHT * WIDTH)
    assert found["error"] == pytest.approx(share * abs(np.log(factor)), abs=0.005)


def test_what_is_hidden_or_far_is_not_compared() -> None:
    seen, hidden = ramp(), np.ones((HEIGHT, WIDTH), np.float32)
    hidden[BOX] = 0
    for factor, name in ((0.3, "nearer"), (3.0, "farther")):
        seen[BOX] = ramp()[BOX] * factor
        assert scores(seen)[name] > 1 and scores(seen, hidden)[name] < 0.05
    assert scores(seen, np.zeros_like(hidden)) == NO_DIFFERENCE
    far = np.full((HEIGHT, WIDTH), 70, np.float32)
    assert compare_depth(far, np.where(hidden > 0, far, 50), hidden).scores == NO_DIFFERENCE


def test_a_near_thing_that_appears_counts_whatever_is_hidden_behind_it() -> None:
    """Such as a vehicle on a road whose surface lies under snow, or before a wall in fog."""
    seen, hidden = ramp(), np.ones((HEIGHT, WIDTH), np.float32)
    seen[BOX] *= 0.3
    hidden[BOX] = 0
    assert scores(seen, hidden)["appeared"] == pytest.approx(-np.log(0.3), abs=0.02)
    assert scores(seen, hidden)["nearer"] < 0.05 and scores(seen, hidden)["error"] < 0.01
    far = np.full((HEIGHT, WIDTH), 70, np.float32)
    appeared = compare_depth(far, np.where(hidden > 0, far, 5), hidden).scores
    assert appeared["appeared"] == pytest.approx(np.log(70 / 5), abs=0.02)


def test_confidence_falls_where_depth_differs_or_is_hidden() -> None:
    seen, visible = ramp(), np.ones((HEIGHT, WIDTH), np.float32)
    seen[BOX] *= 0.4
    visible[:10] = 0.25
    found = compare_depth(ramp(), seen, visible).confidence
    assert found is not None and found[50, 80] < 0.02
    assert found[20, 20] == pytest.approx(1, abs=1e-4)
    assert found[5, 20] == pytest.approx(0.25, abs=1e-4)


def test_of_several_models_the_smaller_difference_counts(tmp_path: Path) -> None:
    folders = [save_teacher(tmp_path / str(seed), seed) for seed in (0, 1)]
    asked = request(Condition.NIGHT)
    seen = Variant(image=picture(condition=Condition.NIGHT, severity=0.5))
    alone = [DepthGate([folder])(asked, seen).scores for folder in folders]
    together = DepthGate(folders)(asked, seen).scores
    assert together == {name: min(one[name] for one in alone) for name in together}
    assert alone[0] != alone[1]
    same = DepthGate(folders)(asked, Variant(image=asked.image)).scores
    assert same == pytest.approx(NO_DIFFERENCE, abs=1e-5)


def test_a_recipe_measures_by_a_model_whose_digest_is_its_version(
    dataset: Path, tmp_path: Path
) -> None:
    folder = save_teacher(tmp_path / "model", 0)
    path = tmp_path / "recipe.yaml"
    limits = "most_nearer: 9, most_farther: 9, most_appeared: 9, most_error: 9"
    gate = f"{{name: depth, models: ['{folder}'], {limits}}}"
    path.write_text(f"name: seen\ndepth: exact\nconditions: {{fog: {{}}}}\ngates: [{gate}]\n")
    stop = Stop()
    job = GenerateJob(dataset=dataset, recipe=str(path))
    assert generate(job, executor=SerialExecutor(stop), stop=stop).num_rows == 10
    for row in all_rows(dataset).values():
        assert set(json.loads(row["gate_scores"])["depth"]) == NO_DIFFERENCE.keys()
        assert row["confidence"] is not None
    before = load_recipe(str(path)).hash
    save_teacher(folder, 1)
    assert load_recipe(str(path)).hash != before


def test_a_relative_network_is_aligned_in_scale_and_shift(tmp_path: Path) -> None:
    """The variant's inverse depth is 3 d + 5 of the clear frame's, but for a box twice as near."""
    network = RelativeNetwork(save_dpt(tmp_path))
    true_m, asked = ramp(), request(Condition.NIGHT)
    asked = replace(asked, depth_m=true_m)
    visible = np.ones_like(true_m)
    clear = 0.7 / true_m - 0.2
    for given in (asked, replace(asked, depth_m=None)):
        clear_m, seen_m = network.in_metres(given, clear, 3 * clear + 5, visible)
        assert seen_m == pytest.approx(clear_m, rel=1e-3)
        if given.depth_m is not None:
            assert clear_m == pytest.approx(true_m, rel=1e-3)
        moved_m = true_m.copy()
        moved_m[BOX] /= 2
        clear_m, seen_m = network.in_metres(given, clear, 3 * (0.7 / moved_m - 0.2) + 5, visible)
        found = compare_depth(clear_m, seen_m, visible).scores
        assert found["nearer"] > 0.4 > 0.2 > found["farther"]


def test_networks_of_transformers_and_of_nightrain_measure_side_by_side(tmp_path: Path) -> None:
    folders = [save_dpt(tmp_path / "dpt"), save_teacher(tmp_path / "own", 0)]
    settings = DepthSettings(models=tuple(folders))
    assert len(settings.version().split("-")) >= 3
    asked = request(Condition.NIGHT)
    gate = DepthGate(folders)
    same = gate(asked, Variant(image=asked.image)).scores
    assert same == pytest.approx(NO_DIFFERENCE, abs=1e-3)
    seen = gate(asked, Variant(image=picture(condition=Condition.NIGHT, severity=0.5)))
    assert all(np.isfinite(value) for value in seen.scores.values())
    assert seen.confidence is not None and 0 <= seen.confidence.min() <= seen.confidence.max() <= 1


def test_without_its_model_the_gate_says_what_to_use_instead(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: seen\nconditions: {{fog: {{}}}}\ngates: [{{name: depth, models: [{tmp_path}]}}]\n"
    )
    with pytest.raises(InvalidRequest, match="use the gate 'structure', which needs no network"):
        load_recipe(str(path))


def test_reasons_say_what_was_found_and_expected(tmp_path: Path) -> None:
    folder = save_teacher(tmp_path, 0)
    settings = DepthSettings(
        models=(folder,), most_nearer=-0.0, most_farther=0.0, most_appeared=0.0, most_error=0.0
    )
    seen = Variant(image=picture(condition=Condition.NIGHT, severity=0.5))
    verdict = verdict_of(settings, request(Condition.NIGHT), seen)
    assert verdict.codes == [*("depth.nearer", "depth.farther", "depth.appeared", "depth.geometry")]
    assert "a window looks nearer than in the clear frame by" in verdict.words
