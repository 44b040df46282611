"""Strengths of image to image: linear between evenly spaced severities, by condition."""

import pytest
from pydantic import ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.strengths import strength_at, strength_for

BASE = {"base": {"id_or_folder": "org/base"}, "mode": "image2image", "steps": 10}
DIFFUSION = {"name": "diffusion", "family": "sd15", "allow_no_control": True, **BASE}
PIPELINE = {
    "name": "pipeline",
    "pipeline": "StableDiffusionImg2ImgPipeline",
    "allow_no_control": True,
    **BASE,
}
ENGINES = pytest.mark.parametrize(
    ("kind", "settings"), [(DiffusionSettings, DIFFUSION), (PipelineSettings, PIPELINE)]
)


@pytest.mark.parametrize(
    ("severity", "expected"), [(0, 0.2), (0.25, 0.3), (0.5, 0.4), (0.75, 0.7), (1, 1.0)]
)
def test_strength_is_linear_between_severities(severity: float, expected: float) -> None:
    assert strength_at((0.2, 0.4, 1.0), severity) == pytest.approx(expected)


@ENGINES
def test_a_condition_may_have_strengths_of_its_own(kind: type, settings: dict) -> None:
    own = {"night": [0.5, 0.6, 0.9]}
    engine = kind.model_validate({**settings, "strength": [0.1, 0.3], "strength_by_condition": own})
    assert strength_for(engine, Condition.NIGHT, 0.5) == pytest.approx(0.6)
    assert strength_for(engine, Condition.FOG, 0.5) == pytest.approx(0.2)


@ENGINES
def test_a_recipe_without_them_keeps_its_digest(kind: type, settings: dict) -> None:
    plain = kind.model_validate(settings)
    assert "strength_by_condition" not in plain.model_dump(mode="json")


@ENGINES
@pytest.mark.parametrize(
    ("strengths", "words"),
    [([0.9, 0.3], "is above"), ([0.05, 0.9], "at least 1"), ([0.5], "at least 2")],
)
def test_strengths_that_fall_or_leave_no_step_are_refused(
    kind: type, settings: dict, strengths: list[float], words: str
) -> None:
    for own in ({"strength": strengths}, {"strength_by_condition": {"fog": strengths}}):
        with pytest.raises(ValidationError, match=words):
            kind.model_validate({**settings, **own})


def test_steps_that_may_run_include_those_of_every_condition() -> None:
    own = {"fog": [0.2, 0.4], "night": [0.7, 0.9]}
    settings = {**DIFFUSION, "strength": [0.5, 0.6], "strength_by_condition": own}
    assert DiffusionSettings.model_validate(settings).numbers_of_steps == range(2, 10)
