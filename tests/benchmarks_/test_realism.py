"""Distances between sets of pictures: identities, known values, and what a veil does."""

import numpy as np
import pytest

from nightrain.benchmarks.realism import frechet, gaussian_mmd, vendi
from nightrain.benchmarks.severity_response import measure, rank_correlation, visibility_m
from nightrain.datasets.conditions import Condition
from nightrain.pipelines.small_diffusion.measure.kernel_distance import kid, of_halves
from support.pictures import HEIGHT, WIDTH, blocks
from support.weather_street import request

RNG = np.random.default_rng(0)
A, SAME, OTHER = (RNG.normal(shift, 1, (400, 6)) for shift in (0, 0, 2))


@pytest.mark.parametrize("distance", [gaussian_mmd, frechet, kid])
def test_distances_are_small_within_a_distribution_and_large_between(distance) -> None:
    assert abs(distance(A, SAME)) < 0.05 * distance(A, OTHER)
    assert distance(A, OTHER) == pytest.approx(distance(OTHER, A), rel=1e-6)


def test_the_frechet_distance_of_normal_distributions_is_known() -> None:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^0.5) of two sets with exact moments."""
    points = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3) / 2  # covariance 1
    assert frechet(points, 3 * points + [2, 0]) == pytest.approx(4 + 2 * (1 + 9 - 6))


def test_the_vendi_score_counts_different_pictures() -> None:
    assert vendi(np.eye(5)) == pytest.approx(5)
    assert vendi(np.ones((7, 3))) == pytest.approx(1)
    assert vendi(np.repeat(np.eye(4), 3, axis=0)) == pytest.approx(4)


def test_halves_share_no_place() -> None:
    """Each place has a picture of its own, so sharing one would give the distance 0."""
    places = np.array([f"place {n}" for n in range(10) for _ in range(2)])
    pictures = np.repeat(np.arange(10.0), 2)[:, None]

    def nearest(a: np.ndarray, b: np.ndarray) -> float:
        assert len(a) == len(b) == 10
        return float(np.abs(a - b.T).min())

    mean, deviation = of_halves(pictures, pictures, (places, places), nearest)
    assert mean == 1 and deviation == 0


@pytest.mark.parametrize("expected_m", [60.0, 150.0, 400.0])
def test_visibility_is_that_of_the_lost_contrast(expected_m: float) -> None:
    depth_m = np.tile(np.geomspace(5, 70, 300).astype(np.float32), (50, 1))
    ratio = 0.8 * np.exp(np.log(0.05) * depth_m / expected_m)
    known = np.ones_like(depth_m, bool)
    assert visibility_m(ratio, depth_m, known) == pytest.approx(expected_m, rel=0.02)


def test_measures_follow_a_veil_over_a_picture() -> None:
    image = blocks(1)
    depth_m = np.tile(np.linspace(10, 70, WIDTH, dtype=np.float32), (HEIGHT, 1))
    asked = request(Condition.FOG, scene=(image, depth_m, np.eye(3)))
    found = []
    for visibility in (600, 200, 80):
        left = np.exp(np.log(0.05) * depth_m / visibility)[..., None]
        veiled = (image * left + 200 * (1 - left)).clip(0, 255).astype(np.uint8)
        found.append(measure(asked, veiled))
    for name, rises in (("luma", True), ("span", False), ("far_contrast", False)):
        values = [getattr(one, name) for one in found]
        assert values == sorted(values, reverse=not rises), name
    assert [one.visibility_m for one in found] == pytest.approx([600, 200, 80], rel=0.25)


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation(np.exp(np.arange(9.0))) == pytest.approx(1)
    assert rank_correlation(-np.arange(9.0)) == pytest.approx(-1)
