"""Expected visibility: physics of distance and lamps, where the engine has no map of its own."""

from dataclasses import replace

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition, physical_values
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.visible import expected_visibility, visible_part
from support.weather_street import request

DEPTH_M = np.array([[2.0, 10.0, 40.0, 150.0, np.inf]], np.float32)
WEATHER = (Condition.FOG, Condition.RAIN, Condition.SNOW, Condition.NIGHT, Condition.NIGHT_RAIN)


@pytest.mark.parametrize("severity", [0.0, 0.4, 1.0])
def test_five_per_cent_are_left_at_the_visibility_in_fog(severity: float) -> None:
    visibility_m = physical_values(Condition.FOG, severity)["visibility_m"]
    at = np.array([[visibility_m]], np.float32)
    assert expected_visibility(Condition.FOG, severity, at)[0, 0] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("condition", WEATHER)
def test_less_is_visible_at_a_distance_and_in_worse_weather(condition: Condition) -> None:
    mild, severe = (expected_visibility(condition, s, DEPTH_M)[0] for s in (0.2, 0.9))
    for found in (mild, severe):
        assert (np.diff(found) <= 0).all() and found.min() >= 0 and found.max() <= 1
        assert found[-1] < found[0] and np.isfinite(found).all()
    assert (severe <= mild).all() and severe[2] < mild[2]


def test_a_condition_without_physics_hides_nothing() -> None:
    assert (expected_visibility(Condition.DUSK, 0.5, DEPTH_M) == 1).all()


def test_the_engines_own_map_counts_and_frames_without_depth_show_everything() -> None:
    asked = request(Condition.FOG, severity=1.0)
    height, width = asked.image.shape[:2]
    own = np.full((height, width), 0.7, np.float32)
    found = visible_part(asked, Variant(image=asked.image, visibility=own), (20, 30))
    assert found == pytest.approx(np.full((20, 30), 0.7), abs=1e-6)
    expected = visible_part(asked, Variant(image=asked.image), (20, 30))
    assert expected.min() < 0.5 < 1.01 > expected.max()
    unknown = visible_part(replace(asked, depth_m=None), Variant(image=asked.image), (20, 30))
    assert (unknown == 1).all()
