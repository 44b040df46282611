"""Standard errors and tests over places and seeds, against formulas and simulations."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from nightrain.depthmodel.evaluation.results import standard_error
from nightrain.pipelines.usefulness.study.statistics import (
    change,
    estimate,
    gap_closed,
    p_of_change,
)

PLACES = tuple(f"place-{k}" for k in range(10) for _ in range(2))  # 10 places of 2 images
NUM_TRIALS = 2000


def draws(
    rng: np.random.Generator, mean: float, place: float, seed: float, rest: float
) -> np.ndarray:
    """Scores (3 seeds, 20 images) with deviations of places, of seeds and of their pairs."""
    per_place = place * rng.normal(size=(1, 10)) + rest * rng.normal(size=(3, 10))
    images = np.repeat(per_place, 2, axis=1) + 0.1 * rng.normal(size=(3, 20))
    return mean + images + seed * rng.normal(size=(3, 1))


def test_one_seed_is_the_error_by_place_of_an_evaluation() -> None:
    rng = np.random.default_rng(0)
    values, places = rng.normal(size=17), [f"p{k}" for k in rng.integers(0, 5, 17)]
    found = estimate(values, places)
    assert found.standard_error == pytest.approx(standard_error(values, places))
    assert (found.mean, found.degrees_of_freedom) == (
        pytest.approx(values.mean()),
        len(set(places)) - 1,
    )


def test_seeds_that_do_not_differ_give_the_t_test_over_places() -> None:
    rng = np.random.default_rng(0)
    by_place = rng.normal(size=10)
    found = estimate(np.tile(np.repeat(by_place, 2), (3, 1)), PLACES)
    _, p = ttest_1samp(by_place, 0.3, alternative="less")
    assert found.p_below(0.3) == pytest.approx(p)


def test_the_spread_of_seeds_counts_and_leaves_few_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    calm = draws(rng, 0.0, 1.0, 0.0, 0.0)
    found, wild = estimate(calm, PLACES), estimate(calm + np.array([[-5.0], [0.0], [5.0]]), PLACES)
    assert found.standard_error is not None and wild.standard_error is not None
    assert wild.standard_error > 5 * found.standard_error
    assert wild.degrees_of_freedom == pytest.approx(2, abs=0.2)


def test_without_two_places_there_is_no_test() -> None:
    found = estimate(np.ones((3, 4)), ["one"] * 4)
    assert (found.mean, found.standard_error, found.p_below(2.0)) == (1.0, None, None)
    same = estimate(np.ones((3, 4)), ["a", "a", "b", "b"])
    assert (same.standard_error, same.p_below(2.0), same.p_below(0.5)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("place", "seed", "rest"), [(1.0, 0.0, 0.3), (1.0, 0.5, 0.3), (0.3, 0.3, 0.3)]
)
def test_a_true_bound_is_rejected_in_five_per_cent_of_studies(
    place: float, seed: float, rest: float
) -> None:
    """A test over places alone rejects 13 to 18 % of true bounds where seeds differ, too."""
    rng = np.random.default_rng(7)
    found = [estimate(draws(rng, 0.0, place, seed, rest), PLACES) for _ in range(NUM_TRIALS)]
    rejected = np.mean([(e.p_below(0.0) or 0.0) < 0.05 for e in found])
    assert 0.03 < rejected < 0.07


@pytest.mark.parametrize(("true", "least", "most"), [(-0.2, 0.03, 0.07), (-0.3, 0.9, 1.0)])
def test_a_change_at_its_bound_is_rarely_called_below_it_and_a_larger_one_mostly(
    true: float, least: float, most: float
) -> None:
    rng = np.random.default_rng(3)
    verdicts = []
    for _ in range(NUM_TRIALS):
        street = np.repeat(0.05 * rng.normal(size=(1, 10)), 2, axis=1)  # hard places, for both arms
        clear = 0.3 + street + draws(rng, 0.0, 0.0, 0.01, 0.005) * 0.3
        arm = (1 + true) * (0.3 + street) + draws(rng, 0.0, 0.05, 0.01, 0.005) * 0.3
        p = p_of_change(arm, clear, PLACES, -0.2)
        verdicts.append(p is not None and p < 0.05)
    assert least < np.mean(verdicts) < most


def test_a_change_is_paired_by_seed() -> None:
    clear = np.array([[0.1, 0.3], [0.2, 0.2]])
    arm = np.array([[0.2, 0.2], [0.1, 0.1]])
    found = change(arm, clear, ["a", "b"])
    assert found.mean == pytest.approx(((0.2 / 0.2 - 1) + (0.1 / 0.2 - 1)) / 2)
    scaled = change(arm * 7, clear * 7, ["a", "b"])
    assert scaled.standard_error == pytest.approx(found.standard_error)


def test_the_gap_that_is_closed_covers_the_truth_and_needs_a_gap() -> None:
    rng, covered = np.random.default_rng(5), []
    for _ in range(500):
        gap = 0.1 + np.repeat(0.02 * rng.normal(size=(1, 10)), 2, axis=1)
        clear, noise = 0.3 + draws(rng, 0, 0.05, 0.003, 0.003) * 0.3, 0.01
        true = clear - gap + noise * rng.normal(size=(3, 20))
        arm = clear - 0.6 * gap + noise * rng.normal(size=(3, 20))
        found = gap_closed(arm, clear, true, PLACES)
        assert found is not None and found.standard_error is not None
        covered.append(abs(found.mean - 0.6) < 2.26 * found.standard_error)
    assert 0.92 < np.mean(covered) < 0.98
    same = draws(rng, 0.3, 0.05, 0.0, 0.0)
    assert gap_closed(same, same, same + 0.01, PLACES) is None
