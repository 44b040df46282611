"""Tables of evaluations, letter by letter."""

import json
from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.metrics import DepthMetrics
from nightrain.depthmodel.evaluation.results import Evaluation, ImageScore, SkippedImage, summarise
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.evaluation.tables import comparison_table, condition_table

SETTINGS = EvaluationSettings(scalings=("metric", "median"), caps_m=(80.0,))


def metrics(abs_rel: float) -> DepthMetrics:
    return DepthMetrics(abs_rel, 2.0, 3.0 + abs_rel, 0.25, 12.345, 0.05, 0.5, 0.75, 1.0)


def evaluation(*abs_rels: float, sha256: str = "f00d", model: str = "m") -> Evaluation:
    """Two clear images of two drives, and a night image; another night has no truth."""
    where = (("c0", Condition.CLEAR), ("c1", Condition.CLEAR), ("n", Condition.NIGHT))
    images = tuple(
        ImageScore(
            frame_id=scene,
            scene_id=scene,
            drive_id=scene,
            condition=condition,
            cap_m=80.0,
            scaling=scaling,
            metrics=metrics(abs_rel if scaling == "metric" else abs_rel / 2),
        )
        for scaling in SETTINGS.scalings
        for (scene, condition), abs_rel in zip(where, abs_rels, strict=True)
    )
    skipped = SkippedImage(
        frame_id="x", scene_id="x", condition=Condition.NIGHT, cap_m=80.0, reason="no lidar depth"
    )
    return Evaluation(
        model=model,
        dataset="world",
        frames_sha256=sha256,
        sources={"world": 4},
        settings=SETTINGS,
        scores=summarise(SETTINGS, images, [skipped]),
        skipped=(skipped,),
        images=images,
    )


def test_arms_and_seeds_letter_by_letter() -> None:
    table = comparison_table(
        {
            "clear only": [evaluation(0.10, 0.20, 0.30), evaluation(0.12, 0.20, 0.34)],
            "median": [evaluation(0.20, 0.40, 0.60)],
        },
        metrics=("abs_rel", "silog"),
        buckets=("day-clear", "night", "fog"),
    )
    assert (
        table.markdown()
        == """\
world val, lidar depth from 0.1 to 80 m, metric

| model | runs | day-clear abs_rel | day-clear silog | night abs_rel | night silog |
| --- | ---: | ---: | ---: | ---: | ---: |
| clear only | 2 | 0.155 ± 0.007 | 12.35 ± 0.00 | 0.320 ± 0.028 | 12.35 ± 0.00 |
| median | 1 | 0.300 | 12.35 | 0.600 | 12.35 |

Images (scenes; drives): day-clear 2 (2; 2), night 1 (1; 1).
No images: fog.
Skipped without valid truth: night 1."""
    )
    as_json = json.loads(table.model_dump_json())
    assert as_json["num_evaluations"] == {"clear only": 2, "median": 1}
    assert as_json["cells"][0] == {
        "arm": "clear only",
        "bucket": "day-clear",
        "metric": "abs_rel",
        "mean": pytest.approx(0.155),
        "std": pytest.approx(0.02 / 2 / 2**0.5),
    }
    assert not [cell for cell in as_json["cells"] if cell["bucket"] == "fog"]


def test_one_evaluation_by_condition_letter_by_letter() -> None:
    text = condition_table(evaluation(0.1, 0.2, 0.3), scaling="median")
    lines = text.splitlines()
    assert lines[0] == ("m: world val, lidar depth from 0.1 to 80 m, median-scaled")
    assert lines[2].startswith("| condition | images | scenes | drives | skipped | abs_rel |")
    assert lines[4] == (
        "| day-clear | 2 | 2 | 2 | 0 | 0.075 ± 0.025 | 2.000 ± 0.000 | 3.075 ± 0.025 | "
        "0.250 ± 0.000 | 12.35 ± 0.00 | 0.050 ± 0.000 | 0.500 ± 0.000 | 0.750 ± 0.000 | "
        "1.000 ± 0.000 |"
    )
    assert lines[5] == (
        "| night | 1 | 1 | 1 | 1 | 0.150 | 2.000 | 3.150 | 0.250 | 12.35 | 0.050 | 0.500 | 0.750 |"
        " 1.000 |"
    )
    assert lines[10] == "| fog | 0 | 0 | 0 | 0 | no images | - | - | - | - | - | - | - | - |"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_what_cannot_be_compared_is_refused() -> None:
    one = evaluation(0.1, 0.2, 0.3)
    with pytest.raises(InvalidRequest, match=r"'a' and 'b'.*frames_sha256 are f00d and beef"):
        comparison_table({"a": [one], "b": [evaluation(0.1, 0.2, 0.3, sha256="beef")]})
    other = one.model_copy(update={"settings": EvaluationSettings(truth="exact")})
    with pytest.raises(InvalidRequest, match="settings"):
        comparison_table({"a": [one, other]})
    with pytest.raises(InvalidRequest, match=r"\['b'\] has none"):
        comparison_table({"a": [one], "b": []})
    with pytest.raises(InvalidRequest, match="no arm"):
        comparison_table({})
    with pytest.raises(InvalidRequest, match="no metric 'a1'"):
        comparison_table({"a": [one]}, metrics=["a1"])
    with pytest.raises(InvalidRequest, match="within 50 m"):
        comparison_table({"a": [one]}, cap_m=50.0)
    with pytest.raises(InvalidRequest, match="'hail'"):
        comparison_table({"a": [one]}, buckets=["hail"])


def test_a_table_of_nothing_but_empty_conditions_says_so(tmp_path: Path) -> None:
    table = comparison_table({"a": [evaluation(0.1, 0.2, 0.3)]}, buckets=["snow", "fog"])
    assert "Images (scenes; drives): none." in table.markdown()
    assert "No images: snow, fog." in table.markdown() and not table.cells
