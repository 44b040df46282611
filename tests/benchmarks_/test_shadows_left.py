"""The measure of shadows: what is left of a known shadow, and roads that have none."""

import numpy as np
import pytest

from nightrain.benchmarks.shadows_left import Contrasts, contrast_of, left, sun_and_shadow
from nightrain.pipelines.engines.weather.optics.photometry import linear_to_srgb

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 60, 100


def road(shadow: float, light: float = 0.3, slope: float = 0.0) -> np.ndarray:
    """A road whose left part has `shadow` of the light of the right one, darker downwards."""
    linear = np.full((HEIGHT, WIDTH, 3), light)
    linear[:, :40] *= shadow
    linear[:, 70:73] = min(1.0, 3 * light)  # a line of paint
    linear *= np.exp(-slope * np.arange(HEIGHT) / HEIGHT)[:, None, None]
    linear *= RNG.normal(1, 0.02, linear.shape)
    return linear_to_srgb(linear.clip(0, 1))


EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_contrast_is_that_of_the_light(slope: float) -> None:
    clear = road(0.25, slope=slope)
    areas = sun_and_shadow(clear, EVERYWHERE)
    assert areas is not None and areas.shadow[:, 5].mean() > 0.8 and areas.sun[:, 50].mean() > 0.8
    for shadow in (0.25, 0.5, 0.9):
        later = road(shadow, light=0.1, slope=slope)  # at a third of the light
        assert contrast_of(later, areas) == pytest.approx(-np.log(shadow), abs=0.06)


def test_a_road_without_shadow_or_without_road_tells_nothing() -> None:
    assert sun_and_shadow(road(1.0), EVERYWHERE) is None
    assert sun_and_shadow(road(0.8), EVERYWHERE) is None  # below the least contrast
    assert sun_and_shadow(road(0.25), ~EVERYWHERE) is None
    narrow = np.zeros_like(EVERYWHERE)
    narrow[:, 38:42] = True  # no row has enough of both
    assert sun_and_shadow(road(0.25), narrow) is None


def test_the_share_that_is_left_is_a_median() -> None:
    found = [Contrasts(1.0, 0.2, 0.1), Contrasts(2.0, 0.8, 0.0), Contrasts(1.0, 0.9, 0.3)]
    assert left(found) == pytest.approx((0.4, 0.1))
