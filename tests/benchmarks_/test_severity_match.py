"""Severity match: strengths whose measures are those that are wanted, within what is possible."""

import itertools

import numpy as np
import pytest

from nightrain.benchmarks.severity_match import KNOTS, match
from nightrain.pipelines.engines.strengths import strength_at


def test_the_measures_that_are_wanted_are_reached_to_within_a_step() -> None:
    found = np.linspace(0.95, 0.05, 20)  # of 1 to 20 steps
    wanted = [0.8 - 0.7 * knot for knot in KNOTS]
    one = match(wanted, found)
    assert np.abs(one.reached - wanted).max() <= 0.95 / 19
    for severity, expected in zip((0.3, 0.55, 0.9), (0.59, 0.415, 0.17), strict=True):
        kept = int(20 * strength_at(one.strengths, severity))
        assert found[kept - 1] == pytest.approx(expected, abs=0.06)


def test_what_cannot_be_reached_takes_the_nearest_strength() -> None:
    one = match([0.9 - 0.8 * knot for knot in KNOTS], [0.6, 0.5, 0.4, 0.3])
    assert one.strengths[0] == pytest.approx(1.5 / 4) and one.strengths[-1] == 1.0
    assert one.reached[0] == 0.6 and one.reached[-1] == 0.3


def test_strengths_never_fall_although_measures_are_noisy() -> None:
    rng = np.random.default_rng(0)
    found = np.linspace(1, 0, 30) + rng.normal(0, 0.05, 30)
    wanted = np.linspace(0.9, 0.2, 9) + rng.normal(0, 0.05, 9)
    strengths = match(wanted.tolist(), found.tolist()).strengths
    assert all(a <= b for a, b in itertools.pairwise(strengths))
