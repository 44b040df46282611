"""The gate against broken pictures: each fault is found and named, and weather is none."""

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.apply import GateVerdict
from nightrain.pipelines.gates.built_in.faults import measure_faults, used_levels
from nightrain.pipelines.gates.built_in.picture_settings import FaultsSettings
from support.gating import verdict_of
from support.weather_street import picture, request, street

CONDITIONS = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG, Condition.NIGHT_RAIN)


NATURAL = picture(condition=Condition.RAIN, severity=0.3)  # smooth, with noise


def judged(image: np.ndarray, **limits: float) -> GateVerdict:
    _, depth, k = street()
    asked = request(scene=(NATURAL, depth, k))
    return verdict_of(FaultsSettings(**limits), asked, Variant(image=image))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("severity", [0.1, 0.5, 1.0])
def test_weather_is_no_fault(condition: Condition, severity: float) -> None:
    assert not judged(picture(condition=condition, severity=severity)).rejections


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
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
    assert f"faults.{fault}" in verdict.codes
    reason = dict(verdict.rejections)[f"faults.{fault}"]
    assert reason.startswith(f"gate 'faults': {fault}: ") and "expected" in reason


@pytest.mark.parametrize(
    "broken", [lambda i: i[:-1], lambda i: i.astype(np.float32) * np.nan, lambda i: i[..., :1]]
)
def test_a_variant_of_a_wrong_size_or_type_is_rejected_unmeasured(broken) -> None:
    with pytest.raises(DamagedInput, match=r"wrong size: found .* expected uint8") as raised:
        judged(broken(picture(condition=Condition.FOG, severity=0.3)))
    assert raised.value.reason == Reason.GATE_REJECTED


def test_used_levels_is_the_share_of_distinct_levels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    ramp = np.repeat(ramp, 10, axis=0)
    assert used_levels(cv2.split(ramp)) == 1.0
    assert used_levels(cv2.split(ramp // 16 * 16)) == pytest.approx(1 / 16, abs=0.01)
    one = ramp.copy()
    one[..., 1] = one[..., 1] // 4 * 4  # the worst channel counts
    assert used_levels(cv2.split(one)) == pytest.approx(1 / 4, abs=0.01)


def test_limits_are_settings() -> None:
    dark = picture(condition=Condition.NIGHT, severity=0.5)
    assert judged(dark, least_highlight=250.0).codes == ["faults.black"]
    loose = {"least_highlight": 0, "least_spread": 0, "least_levels": 0}
    assert not judged(np.zeros_like(dark), **loose).rejections


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_plain_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(3, 200, 2), 3)
    clear, seen = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    seen = (seen * rng.random()).astype(np.uint8)
    seen[rng.random(shape[:2]) < 0.1] = 255
    asked = request(scene=(clear, np.ones(shape[:2], np.float32), np.eye(3)))
    luma = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
    expected = {
        "highlight": np.percentile(luma, 99),
        "spread": luma.std(),
        "white": (seen.min(axis=2) >= 254).mean(),
        "change": cv2.absdiff(seen, clear).mean(),
    }
    found = measure_faults(asked, Variant(image=seen)).scores
    assert {name: found[name] for name in expected} == pytest.approx(expected)
