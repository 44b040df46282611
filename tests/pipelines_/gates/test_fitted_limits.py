"""Limits that are fitted to few good scores: shares that they reject of many others."""

import math

import numpy as np
import pytest

from nightrain.pipelines.gates.built_in.limits import least_allowed, most_allowed


def scores(values: np.ndarray) -> list[dict[str, float]]:
    return [{"x": float(value)} for value in values]


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_the_share_beyond_a_limit_of_an_exponential_tail_is_as_asked(share: float) -> None:
    """On average over samples of 80 scores, of which the largest are far too few for 0.001."""
    rng = np.random.default_rng(1)
    limits = [most_allowed(scores(rng.exponential(2.0, 80)), "x", share) for _ in range(400)]
    assert np.median(limits) == pytest.approx(-2.0 * math.log(share), rel=0.1)


def test_a_least_value_mirrors_a_largest() -> None:
    values = np.random.default_rng(2).normal(0, 1, 80)
    assert least_allowed(scores(values), "x", 0.03) == -most_allowed(scores(-values), "x", 0.03)


def test_smaller_shares_have_limits_further_out_and_equal_scores_have_their_value() -> None:
    values = np.random.default_rng(3).normal(0, 1, 80)
    limits = [most_allowed(scores(values), "x", share) for share in (0.3, 0.14, 0.05, 0.01, 0.0)]
    assert limits == sorted(limits) and limits[-1] < math.inf
    assert most_allowed(scores(np.ones(10)), "x", 0.01) == 1.0
