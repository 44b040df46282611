"""Visibility of the weather engine: what of the clear frame is left, against how variants respond.

The oracle is the engine itself: a fine pattern is added to the clear frame, and what of its
contrast the variant shows is what is visible.
"""

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from nightrain.datasets.conditions import Condition, physical_values
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.engines.weather.optics.photometry import luminance, srgb_to_linear
from support.weather_street import request, rng, street

WIDTH, HEIGHT = 480, 270
CONDITIONS = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG, Condition.NIGHT_RAIN)


def made(condition: Condition, severity: float, image: np.ndarray, seed: int) -> Variant:
    _, depth, k = street(WIDTH, HEIGHT, wall_m=40.0)
    asked = request(condition, severity, seed, scene=(image, depth, k))
    return WeatherEngine().generate([asked])[0]


def visibility(variant: Variant) -> np.ndarray:
    assert variant.visibility is not None
    return variant.visibility


def contrasts(condition: Condition, severity: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Visibility, and the share of a fine pattern's contrast that is left, in cells off the sky."""
    image, depth, _ = street(WIDTH, HEIGHT, wall_m=40.0)
    pattern = np.where(rng(1).random((HEIGHT, WIDTH, 1)) < 0.5, -14, 14)
    other = (image.astype(int) + pattern).clip(0, 255).astype(np.uint8)
    variants = [made(condition, severity, picture, seed).image for picture in (image, other)]
    left = contrast(*variants) / contrast(image, other)
    seen = in_cells(visibility(made(condition, severity, image, seed)))
    solid = in_cells(np.isfinite(depth).astype(np.float32)) > 0.99
    return seen[solid], left[solid]


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean difference of two pictures' light, relative to its mean, in cells."""
    a, b = (luminance(srgb_to_linear(picture)) for picture in (one, other))
    return in_cells(np.abs(b - a)) / in_cells(a + b)


def in_cells(field: np.ndarray) -> np.ndarray:
    return cv2.resize(field, (WIDTH // 15, HEIGHT // 15), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("condition", [Condition.RAIN, Condition.SNOW, Condition.FOG])
@pytest.mark.parametrize("severity", [0.6, 0.9])
def test_visibility_orders_places_as_the_contrast_that_is_left(
    condition: Condition, severity: float
) -> None:
    found = [contrasts(condition, severity, seed) for seed in (3, 4, 5)]
    seen, left = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert spearmanr(seen, left).statistic > 0.6


@pytest.mark.parametrize("condition", [Condition.NIGHT, Condition.NIGHT_RAIN])
def test_at_night_what_the_headlights_reach_is_visible(condition: Condition) -> None:
    image, _, _ = street(WIDTH, HEIGHT, wall_m=40.0)
    seen = visibility(made(condition, 0.9, image, seed=2))
    road, wall_top = seen[180:230, 200:280], seen[75:90]
    assert np.median(road) > 0.4 and np.median(road) > 1.3 * np.median(wall_top)


def test_in_fog_visibility_is_the_transmission() -> None:
    image, _, _ = street(WIDTH, HEIGHT, wall_m=40.0)
    seen = visibility(made(Condition.FOG, 0.6, image, seed=2))
    metres = physical_values(Condition.FOG, 0.6)["visibility_m"]
    wall = np.s_[120:130, 200:280]
    assert np.median(seen[wall]) == pytest.approx(0.05 ** (40.0 / metres), rel=0.25)
    assert np.median(seen[-10:]) > np.median(seen[wall]) > 0


@pytest.mark.parametrize("condition", CONDITIONS)
def test_visibility_is_a_share_and_falls_with_severity_by_day(condition: Condition) -> None:
    image, depth, _ = street(WIDTH, HEIGHT, wall_m=40.0)
    solid = np.isfinite(depth)
    means = []
    for severity in (0.1, 0.5, 0.9):
        maps = [visibility(made(condition, severity, image, seed)) for seed in range(4)]
        assert all(x.shape == (HEIGHT, WIDTH) and x.dtype == np.float32 for x in maps)
        assert all(x.min() >= 0 and x.max() <= 1 for x in maps)
        means.append(float(np.mean([x[solid].mean() for x in maps])))
    assert condition in (Condition.NIGHT, Condition.NIGHT_RAIN) or means[0] > means[1] > means[2]
