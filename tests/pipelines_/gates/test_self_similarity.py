"""The gate of self-similarity: light may change, the layout may not."""

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.built_in.network_settings import SelfSimilaritySettings
from nightrain.pipelines.gates.built_in.self_similarity import compare_similarity
from support.gating import verdict_of
from support.pictures import blocks
from support.weather_street import request

RNG = np.random.default_rng(0)


def asked_for(condition: Condition) -> Request:
    image = cv2.resize(blocks(1), (224, 128), interpolation=cv2.INTER_NEAREST)
    return request(condition, scene=(image, np.full((128, 224), 10, np.float32), np.eye(3)))


def scores(asked: Request, image: np.ndarray) -> dict[str, float]:
    found = verdict_of(SelfSimilaritySettings(), asked, Variant(image=image))
    return found.scores["self-similarity"]


def test_a_darker_and_bluer_picture_is_nearer_than_another_layout() -> None:
    asked = asked_for(Condition.RAIN)
    image = asked.image
    darker = (image * np.array([0.4, 0.45, 0.6])).astype(np.uint8)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    upside = np.ascontiguousarray(image[::-1])
    assert scores(asked, image) == pytest.approx({"distance": 0, "worst": 0}, abs=1e-5)
    near = scores(asked, darker)
    for other in (mirrored, upside):
        far = scores(asked, other)
        assert near["distance"] < 0.5 * far["distance"] and near["worst"] < far["worst"]


def test_limits_judge_both_scores() -> None:
    settings = SelfSimilaritySettings(most_distance=0.3, most_worst=0.8)

    def codes(distance: float, worst: float) -> list[str]:
        found = settings.judge({"distance": distance, "worst": worst}, Condition.FOG, 0.5)
        return [code for code, _ in found]

    assert codes(0.3, 0.8) == [] and codes(0.4, 0.9) == ["layout", "place"]
    good = [{"distance": d, "worst": 2 * d} for d in np.linspace(0, 0.2, 101)]
    fitted = settings.fitted({Condition.FOG: good}, {Condition.FOG: 0.1})
    limits = fitted.by_condition[Condition.FOG]
    assert limits.most_distance == pytest.approx(0.177, abs=0.002)
    assert limits.most_worst == pytest.approx(2 * limits.most_distance, abs=0.002)
    assert fitted.for_version == "1"


def test_a_distance_is_one_less_the_correlation_over_what_is_visible() -> None:
    before, after = RNG.normal(size=(2, 20, 20))
    visible = np.where(np.arange(20) < 15, RNG.uniform(0.3, 1, 20), 0.29)
    found = compare_similarity(before, after, visible)
    expected = [1 - np.corrcoef(before[i, :15], after[i, :15])[0, 1] for i in range(15)]
    assert found["worst"] == pytest.approx(max(expected))
    assert found["distance"] == pytest.approx(np.average(expected, weights=visible[:15]))
    # What is hidden does not count, and where too little is visible nothing is known.
    after[16:] = 9
    assert compare_similarity(before, after, visible) == pytest.approx(found)
    assert compare_similarity(before, after, np.zeros(20)) == {"distance": 0.0, "worst": 0.0}


def test_hidden_parts_are_no_difference() -> None:
    asked = asked_for(Condition.FOG)
    image = asked.image.copy()
    visibility = np.ones(image.shape[:2], np.float32)
    image[:, :120], visibility[:, :120] = 190, 0
    open_, hidden = (
        verdict_of(SelfSimilaritySettings(), asked, Variant(image=image, visibility=v)).scores
        for v in (np.ones_like(visibility), visibility)
    )
    assert hidden["self-similarity"]["distance"] < 0.6 * open_["self-similarity"]["distance"]
