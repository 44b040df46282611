"""Features of single pictures: the last picture's are kept, any other's are computed."""

import numpy as np
import torch

from nightrain.depthmodel.network.image_features import (
    ImageFeatures,
    feature_maps,
    picture_features,
)

SIZE = (64, 32)
RNG = np.random.default_rng(0)


def picture() -> np.ndarray:
    return RNG.integers(0, 255, (32, 64, 3), dtype=np.uint8)


def test_they_are_those_of_the_network_and_computed_once() -> None:
    one, other = picture(), picture()
    features = picture_features(SIZE)
    first = features(one)
    expected = feature_maps(ImageFeatures(), one[None])
    torch.testing.assert_close(first, expected, rtol=1e-3, atol=1e-4)  # batch norms are folded
    assert features(one) is first and features(one.copy()) is not first
    assert not torch.equal(features(other)[0], first[0])
    assert torch.equal(features(one)[0], first[0])


def test_callers_share_the_network() -> None:
    assert picture_features(SIZE) is picture_features(SIZE) is not picture_features((32, 32))
