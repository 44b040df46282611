"""The gate of structure: things that are lost or new count where they should be visible."""

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.apply import GateVerdict
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.built_in.limits import StructureLimits
from nightrain.pipelines.gates.built_in.picture_settings import StructureSettings
from nightrain.pipelines.gates.built_in.structure import measure_structure
from support.gating import verdict_of
from support.pictures import HEIGHT, WIDTH, blocks
from support.weather_street import request

THING = np.s_[120:180, 180:260]  # 4 % of the picture
CONDITIONS = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG, Condition.NIGHT_RAIN)


def veiled(image: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return (0.4 * image + 60 + noise).clip(0, 255).astype(np.uint8)


def without(image: np.ndarray) -> np.ndarray:
    found = image.copy()
    found[THING] = found[THING].mean(axis=(0, 1))
    return found


def visible(share_of_thing: float) -> np.ndarray:
    found = np.ones((HEIGHT, WIDTH), np.float32)
    found[110:190, 170:270] = share_of_thing
    return found


def asked(clear: np.ndarray, condition: Condition = Condition.FOG) -> Request:
    return request(condition, scene=(clear, np.ones((HEIGHT, WIDTH), np.float32), np.eye(3)))


def judged(
    clear: np.ndarray, variant: np.ndarray, condition: Condition, visibility: np.ndarray | None
) -> GateVerdict:
    seen = Variant(image=variant, visibility=visibility)
    return verdict_of(StructureSettings(), asked(clear, condition), seen)


def structure(clear: np.ndarray, variant: Variant) -> Measured:
    return measure_structure(asked(clear), variant)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("seed", range(3))
def test_lost_things_are_rejected_where_they_are_visible(condition: Condition, seed: int) -> None:
    image = blocks(seed)
    assert not judged(image, veiled(image), condition, visible(1)).rejections
    lost = judged(image, veiled(without(image)), condition, visible(1))
    assert "structure.lost" in lost.codes
    assert "visible edges of a region are lost" in lost.words


@pytest.mark.parametrize("seed", range(3))
def test_new_things_are_rejected_where_they_are_visible(seed: int) -> None:
    """Nights and rain have lamps and mirrors of their own, so their limits are wider."""
    image = blocks(seed)
    bare, full = veiled(without(image)), veiled(image)
    same = structure(without(image), Variant(image=bare, visibility=visible(1)))
    new = structure(without(image), Variant(image=full, visibility=visible(1)))
    assert new.scores["novel"] > 5 * same.scores["novel"]
    assert judged(without(image), full, Condition.FOG, visible(1)).rejections
    strict = StructureLimits(most_lost=1.0, most_novel=0.3)
    settings = StructureSettings(by_condition={Condition.RAIN: strict})
    seen = Variant(image=full, visibility=visible(1))
    verdict = verdict_of(settings, asked(without(image), Condition.RAIN), seen)
    assert verdict.codes == ["structure.novel"] and "new edges of strength" in verdict.words


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_is_rightly_hidden_may_be_lost_or_new(condition: Condition) -> None:
    image = blocks(1)
    for clear, variant in ((image, without(image)), (without(image), image)):
        assert not judged(clear, veiled(variant), condition, visible(0)).rejections


def test_without_the_engines_map_what_is_near_is_visible() -> None:
    """The depth of these pictures is 1 m, where no fog hides anything."""
    image = blocks(2)
    unknown = structure(image, Variant(image=veiled(without(image))))
    known = structure(image, Variant(image=veiled(without(image)), visibility=visible(1)))
    assert unknown.scores == pytest.approx(known.scores, abs=0.01)
    assert judged(image, veiled(without(image)), Condition.FOG, None).rejections


def test_scores_grow_with_what_is_lost() -> None:
    image = blocks(3)
    scores = [
        structure(image, Variant(image=veiled((1 - share) * image + share * without(image)))).scores
        for share in (0.0, 0.9, 1.0)
    ]
    assert scores[0]["lost"] < scores[1]["lost"] <= scores[2]["lost"] <= 1


def test_confidence_is_low_where_something_is_hidden_or_lost_and_only_there() -> None:
    image = blocks(1)
    lost = structure(image, Variant(image=veiled(without(image)), visibility=visible(1))).confidence
    hidden = structure(image, Variant(image=veiled(image), visibility=visible(0))).confidence
    assert lost is not None and hidden is not None
    middle, far = np.s_[140:160, 210:230], np.s_[:80]
    assert lost[middle].max() < 0.3 < 0.8 < lost[far].mean()
    assert hidden[middle].max() == 0 and hidden[far].mean() > 0.8
    assert lost.min() >= 0 and lost.max() <= 1


def test_limits_of_a_recipe_replace_those_of_their_condition_alone() -> None:
    strict = StructureLimits(most_lost=0.1, most_novel=0.1)
    settings = StructureSettings(by_condition={Condition.FOG: strict})
    assert settings.limits_of(Condition.FOG) == strict
    assert settings.limits_of(Condition.SNOW) == StructureSettings().limits_of(Condition.SNOW)
    assert settings.limits_of(Condition.DUSK) == settings.limits_of(Condition.NIGHT)
