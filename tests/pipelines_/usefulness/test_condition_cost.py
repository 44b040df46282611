"""What a condition costs: only places that were seen under both count, and each alike."""

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.metrics import DepthMetrics
from nightrain.depthmodel.evaluation.results import Evaluation, ImageScore
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.pipelines.usefulness.study.condition_cost import cost_of_conditions

SETTINGS = EvaluationSettings(truth="exact", scalings=("metric", "median"))
CAP_M = SETTINGS.caps_m[0]


def image(drive: str, condition: Condition, abs_rel: float, **changes: object) -> ImageScore:
    fields = {
        "frame_id": f"{drive}-{condition}-{abs_rel}",
        "scene_id": f"{drive}-{condition}",
        "drive_id": drive,
        "condition": condition,
        "cap_m": CAP_M,
        "scaling": "metric",
        "metrics": DepthMetrics(abs_rel, 0, 0, 0, 0, 0, 1, 1, 1),
    }
    return ImageScore.model_validate(fields | changes)


def evaluation(*images: ImageScore) -> Evaluation:
    return Evaluation(
        model="m",
        dataset="d",
        frames_sha256="",
        sources={},
        settings=SETTINGS,
        scores=(),
        skipped=(),
        images=images,
    )


def test_drives_under_both_count_alike_and_others_not_at_all() -> None:
    found = cost_of_conditions(
        evaluation(
            *[image("a", Condition.CLEAR, 0.1), image("a", Condition.NIGHT, 0.2)],
            *[image("b", Condition.CLEAR, 0.2)] * 5,
            *[image("b", Condition.NIGHT, 0.3), image("b", Condition.NIGHT, 0.5)],
            image("only-clear", Condition.CLEAR, 9.0),
            image("only-night", Condition.NIGHT, 9.0),
            image("only-night", Condition.RAIN, 9.0),
            image("a", Condition.NIGHT, 9.0, scaling="median"),
            image("a", Condition.NIGHT, 9.0, cap_m=CAP_M + 1),
        )
    )
    assert found == {Condition.NIGHT: pytest.approx((0.2 + 0.4) / (0.1 + 0.2) - 1)}


def test_nothing_to_compare_is_no_cost() -> None:
    assert cost_of_conditions(evaluation(image("a", Condition.NIGHT, 0.2))) == {}
    assert cost_of_conditions(evaluation()) == {}
