"""The rating of weather: a known law is found again, and the measures are those of their names."""

from pathlib import Path

import numpy as np
import pytest

from nightrain.benchmarks.rated_weather import Rated, Rater, rendered
from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.network.image_features import ImageFeatures

RNG = np.random.default_rng(0)


def test_a_law_in_the_features_is_found_again() -> None:
    features = RNG.normal(size=(200, 40))
    known = np.exp(features @ RNG.normal(size=40) * 0.2 + 1)
    rated = Rated(known[150:], Rater(features[:150], known[:150])(features[150:]))
    assert rated.spearman > 0.98 and rated.factor < 1.1 and rated.ratio == pytest.approx(1, abs=0.1)


def test_the_measures_are_those_of_their_names() -> None:
    rated = Rated(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 2.0]))
    assert rated.factor == pytest.approx(2) and rated.ratio == pytest.approx(2)
    assert rated.spearman == pytest.approx(0)


def test_pictures_come_with_the_fog_that_they_were_rendered_with(tmp_path: Path) -> None:
    features, known = rendered(tmp_path / "world", Condition.FOG, 3, ImageFeatures())
    assert features.shape[0] == len(known) == 3 and features.shape[1] > 100
    assert (known > 20).all() and (known < 400).all() and len(set(known)) == 3
