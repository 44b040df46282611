"""Window attention against loops in numpy, on grids that the window divides and others."""

import numpy as np
import pytest
import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoders.window_attention import (
    WindowCrossAttention,
    from_windows,
    to_windows,
)

WINDOW, CHANNELS, HEADS = 3, 8, 2
GRIDS = [(6, 9), (3, 3), (7, 5), (2, 1), (1, 10)]


def make_attention() -> WindowCrossAttention:
    torch.manual_seed(0)
    attention = WindowCrossAttention(CHANNELS, HEADS, WINDOW).double()
    nn.init.normal_(attention.offset_bias)
    return attention


def draw(size: tuple[int, int], seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *size, CHANNELS, generator=generator, dtype=torch.float64)


def by_hand(attention: WindowCrossAttention, query: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Each cell asks only those cells of its window that are there."""
    weights = {name: tensor.numpy() for name, tensor in attention.state_dict().items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    q, (k, v) = linear(query, "query"), np.split(linear(source, "key_value"), 2, axis=-1)
    found, width = np.zeros_like(query), CHANNELS // HEADS
    batch, rows, columns, _ = query.shape
    for b, r, c, head in np.ndindex(batch, rows, columns, HEADS):
        part = slice(head * width, (head + 1) * width)
        top, left = r // WINDOW * WINDOW, c // WINDOW * WINDOW
        cells = [
            (i, j)
            for i in range(top, min(top + WINDOW, rows))
            for j in range(left, min(left + WINDOW, columns))
        ]
        products = []
        for i, j in cells:
            offset = (r - i + WINDOW - 1) * (2 * WINDOW - 1) + c - j + WINDOW - 1
            product = q[b, r, c, part] @ k[b, i, j, part] / np.sqrt(width)
            products.append(product + weights["offset_bias"][head, offset])
        share = np.exp(np.array(products) - max(products))
        share /= share.sum()
        found[b, r, c, part] = sum(
            s * v[b, i, j, part] for s, (i, j) in zip(share, cells, strict=True)
        )
    return linear(found, "project")


@pytest.mark.parametrize("size", GRIDS)
@torch.no_grad()
def test_it_is_what_loops_compute(size: tuple[int, int]) -> None:
    attention, query, source = make_attention(), draw(size), draw(size, seed=2)
    expected = by_hand(attention, query.numpy(), source.numpy())
    np.testing.assert_allclose(attention(query, source).numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", GRIDS)
def test_windows_and_back(size: tuple[int, int]) -> None:
    x = draw(size)
    windows = to_windows(x, WINDOW)
    assert windows.shape == (2, -(-size[0] // 3) * -(-size[1] // 3), 9, CHANNELS)
    assert torch.equal(from_windows(windows, WINDOW, size), x)
    first = x[:, :WINDOW, :WINDOW]
    if first.shape[1:3] == (3, 3):
        assert torch.equal(windows[:, 0], first.flatten(1, 2))


def test_gradients_stay_in_their_window_and_are_finite() -> None:
    attention = make_attention()
    query, source = draw((7, 5)).requires_grad_(), draw((7, 5), seed=2).requires_grad_()
    attention(query, source)[0, 6, 4].sum().backward()  # a window of one row and two columns
    assert query.grad is not None and source.grad is not None
    touched = source.grad[0].any(dim=2).nonzero().tolist()
    assert touched == [[6, 3], [6, 4]]
    assert query.grad[0].any(dim=2).nonzero().tolist() == [[6, 4]]
    assert bool(query.grad.isfinite().all()) and not source.grad[1].any()
    for name, weight in attention.named_parameters():
        assert weight.grad is not None and bool(weight.grad.isfinite().all()), name


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="8 channels for 3 heads"):
        WindowCrossAttention(8, 3)
