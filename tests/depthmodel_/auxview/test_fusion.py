"""Deformable sampling, window attention, evidence and the gate, each against its formula."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from nightrain.depthmodel.auxview.deformable import REACH_CELLS, DeformableSampling
from nightrain.depthmodel.auxview.fusion import (
    GatedFusion,
    ValidWindowAttention,
    evidence_of,
    sobel,
)
from nightrain.depthmodel.auxview.matching import Match, cells, sample

H, W, C = 9, 11, 6  # of which no window divides both


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def woken(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter away from zero, as after some training."""
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.3 * noise(index, *parameter.shape))
    return module


def test_deformable_sampling_starts_at_the_match() -> None:
    target, other, shift = noise(0, 2, C, H, W), noise(1, 2, C, H, W), noise(2, 2, 2, H, W)
    found = DeformableSampling(C)(target, other, shift)
    torch.testing.assert_close(found, sample(other, cells(H, W, shift) + shift))


def test_deformable_sampling_is_deformable_convolution_about_the_match() -> None:
    target, other, shift = noise(3, 2, C, H, W), noise(4, 2, C, H, W), noise(5, 2, 2, H, W)
    module = DeformableSampling(C)
    woken(module)
    roughly = sample(other, cells(H, W, shift) + shift)
    moves, weights = module.change(torch.cat([target, roughly], 1)).split([18, 9], 1)
    offsets = (shift.repeat(1, 9, 1, 1) + REACH_CELLS * torch.tanh(moves)).unflatten(1, (9, 2))
    expected = deform_conv2d(
        other,
        offsets.flip(2).flatten(1, 2),  # torchvision has y before x
        torch.ones(C, 1, 3, 3),
        padding=1,
        mask=module.middle + weights,
    )
    torch.testing.assert_close(module(target, other, shift), expected, atol=1e-4, rtol=1e-4)


def test_window_attention_is_that_of_loops() -> None:
    """Cell by cell: softmax over the valid cells of its own window, log V added."""
    side, heads, width = 4, 2, 6
    attend = ValidWindowAttention(C, width, heads, side)
    woken(attend)
    target, aligned = noise(6, 1, C, H, W), noise(7, 1, C, H, W)
    validity = torch.rand(1, 1, H, W, generator=torch.Generator().manual_seed(8)).clamp(min=0.01)
    q, k, v = (
        p(x)[0]
        for p, x in zip(
            (attend.query, attend.key, attend.value), (target, aligned, aligned), strict=True
        )
    )
    expected = torch.zeros(width, H, W)
    for y, x in np.ndindex(H, W):
        top, left = y // side * side, x // side * side
        places = [
            (i, j) for i in range(top, min(top + side, H)) for j in range(left, min(left + side, W))
        ]
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            own = (y - top) * side + x - left
            logits = torch.stack(
                [
                    q[part, y, x] @ k[part, i, j] / math.sqrt(width / heads)
                    + attend.place[head, own, (i - top) * side + j - left]
                    + validity[0, 0, i, j].log()
                    for i, j in places
                ]
            )
            values = torch.stack([v[part, i, j] for i, j in places])
            expected[part, y, x] = logits.softmax(0) @ values
    found = attend(target, aligned, validity)
    torch.testing.assert_close(found, attend.out(expected[None]), atol=1e-5, rtol=1e-4)


def test_what_is_not_valid_is_no_key() -> None:
    attend = ValidWindowAttention(C, 4, 2, 4)
    target, aligned = noise(9, 1, C, H, W), noise(10, 1, C, H, W)
    validity = torch.ones(1, 1, H, W)
    validity[..., 2, 3] = 0
    other = aligned.clone()
    other[..., 2, 3] = 100.0
    torch.testing.assert_close(attend(target, aligned, validity), attend(target, other, validity))


def test_no_validity_gives_the_very_numbers_and_a_gain_of_zero_too() -> None:
    e, aligned, evidence = noise(11, 2, C, H, W), noise(12, 2, C, H, W), noise(13, 2, 4, H, W)
    fusion, nothing = GatedFusion(C, 4, 2, 4), torch.zeros(2, 1, H, W)
    assert torch.equal(fusion(e, aligned, 1 + nothing, evidence), e)
    woken(fusion)
    assert torch.equal(fusion(e, aligned, nothing, 0 * evidence), e)
    assert not torch.equal(fusion(e, aligned, 1 + nothing, evidence), e)


def test_evidence_is_inverse_depth_in_three_ways() -> None:
    validity = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)
    inverse_depth = torch.tensor([0.1, 0.2, 0.2]).view(1, 1, 1, 3)
    monocular = torch.full((1, 1, 4, 12), 0.1, requires_grad=True)
    match = Match(torch.zeros(1, 2, 1, 3), validity, inverse_depth)
    found = evidence_of(match, monocular)[0, :, 0].T
    expected = [[1, 1, 0, 0], [0.5, 1, 0.5 * math.log(2), 0.5 * math.log(2)], [0, 0, 0, 0]]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    assert not found.requires_grad
    alone = evidence_of(match, None)[0, :, 0].T
    np.testing.assert_allclose(alone[:, :3], np.array(expected)[:, :3], atol=1e-6)
    assert not alone[:, 3].any()
    unknown = evidence_of(match._replace(inverse_depth=None), monocular)[0, :, 0].T
    np.testing.assert_allclose(unknown, [[1, 0, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("inverse_depth", [0.0, 1e-5, 50.0])
def test_evidence_of_what_is_too_near_or_far_is_finite(inverse_depth: float) -> None:
    s = torch.full((1, 1, 2, 2), inverse_depth, requires_grad=True)
    match = Match(torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 2, 2), s)
    evidence = evidence_of(match, torch.full((1, 1, 2, 2), 0.1))
    evidence.sum().backward()
    assert evidence.abs().max() <= 10 and s.grad is not None and torch.isfinite(s.grad).all()


def test_sobel_is_the_size_of_the_slope() -> None:
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    slope = sobel((3 * x + 4 * y)[None, None])[..., 1:-1, 1:-1]
    torch.testing.assert_close(slope, torch.full_like(slope, 5.0))
    flat = torch.zeros(1, 1, 4, 4, requires_grad=True)
    sobel(flat).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()
