"""Haar's transform keeps lengths, and undoes itself."""

import numpy as np
import torch

from nightrain.depthmodel.decoders.strict import haar_analysis, haar_synthesis


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_is_the_inverse_of_the_other() -> None:
    coefficients, pixels = noise(2, 12, 3, 5), noise(2, 3, 6, 10)
    assert haar_synthesis(coefficients).shape == pixels.shape
    torch.testing.assert_close(haar_analysis(haar_synthesis(coefficients)), coefficients)
    torch.testing.assert_close(haar_synthesis(haar_analysis(pixels)), pixels)


def test_lengths_stay() -> None:
    coefficients = noise(1, 8, 4, 3)
    assert abs(haar_synthesis(coefficients).norm() - coefficients.norm()) < 1e-12


def test_coefficients_of_a_block_by_hand() -> None:
    p, q, r, s = 1.0, 2.0, 4.0, 8.0
    block = torch.tensor([[[[p, q], [r, s]]]])
    means = [p + q + r + s, p - q + r - s, p + q - r - s, p - q - r + s]
    np.testing.assert_allclose(haar_analysis(block).flatten(), np.array(means) / 2)


def test_the_mean_comes_first_and_channels_stay_apart() -> None:
    one = torch.zeros(1, 2, 4, 4)
    one[:, 1] = 3.0  # the second channel is flat
    coefficients = haar_analysis(one)  # (1, 8, 2, 2): 2 means, then the details
    assert (coefficients[:, 1] == 6).all()
    coefficients[:, 1] = 0
    assert not coefficients.any()
