"""The gate against broken pictures: each fault is found and named, and weather is none."""

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.base import GateAccepted, GateRejected
from nightrain.pipelines.gates.built_in import FaultsSettings
from nightrain.pipelines.gates.faults import used_levels
from support.weather_street import picture, request, street

CONDITIONS = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG, Condition.NIGHT_RAIN)


NATURAL = picture(condition=Condition.RAIN, severity=0.3)  # smooth, with noise


def judged(image: np.ndarray, **limits: float) -> GateAccepted | GateRejected:
    _, depth, k = street()
    return FaultsSettings(**limits).build()(
        request(scene=(NATURAL, depth, k)), Variant(image=image)
    )


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("severity", [0.1, 0.5, 1.0])
def test_weather_is_no_fault(condition: Condition, severity: float) -> None:
    assert judged(picture(condition=condition, severity=severity)) == GateAccepted()


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda image: image[:-1], "wrong size"),
        (lambda image: image.astype(np.float32), "wrong size"),
        (np.zeros_like, "black"),
        (lambda image: image // 12, "black"),
        (lambda image: np.full_like(image, 90), "flat"),
        (lambda image: image // 32 * 32, "posterised"),
        (lambda image: np.where(image > np.median(image), 255, image), "saturated"),
        (lambda image: NATURAL + 1, "unchanged"),
    ],
)
def test_faults_are_named(broken, fault: str) -> None:
    verdict = judged(broken(picture(condition=Condition.FOG, severity=0.3)))
    assert isinstance(verdict, GateRejected)
    assert verdict.reason.startswith(fault) and "expected" in verdict.reason


def test_used_levels_is_the_share_of_distinct_levels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    ramp = np.repeat(ramp, 10, axis=0)
    assert used_levels(ramp) == 1.0
    assert used_levels(ramp // 16 * 16) == pytest.approx(1 / 16, abs=0.01)
    one = ramp.copy()
    one[..., 1] = one[..., 1] // 4 * 4  # the worst channel counts
    assert used_levels(one) == pytest.approx(1 / 4, abs=0.01)


def test_limits_are_settings() -> None:
    dark = picture(condition=Condition.NIGHT, severity=0.5)
    assert isinstance(judged(dark, least_highlight=250.0), GateRejected)
    assert isinstance(judged(np.zeros_like(dark), least_highlight=0, least_spread=0,
                             least_levels=0), GateAccepted)  # fmt: skip
