"""The orthonormal Haar transform of 2x2 blocks: an isometry that can stand for PixelShuffle.

A block (p, q / r, s) of pixels and its coefficients (mean, horizontal, vertical, diagonal) are each
other's image under H / 2, where H is the symmetric 4x4 Hadamard matrix; as H H = 4 it is its own
inverse. Coefficients of C channels are stored kind by kind: C means first, then C of each detail.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

HADAMARD = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


def haar_synthesis(coefficients: Tensor) -> Tensor:
    """Pixels (B, C, 2h, 2w) of Haar coefficients (B, 4C, h, w); lengths stay. Haar 1910."""
    batch, channels, height, width = coefficients.shape
    kinds = coefficients.view(batch, 4, channels // 4, height, width)
    pixels = torch.einsum("pk,bkchw->bcphw", _matrix(kinds), kinds)  # (B, C, 4, h, w)
    return F.pixel_shuffle(pixels.reshape(batch, channels, height, width), 2)


def haar_analysis(pixels: Tensor) -> Tensor:
    """Haar coefficients (B, 4C, h, w) of pixels (B, C, 2h, 2w): the inverse of the synthesis."""
    batch, channels, height, width = pixels.shape
    blocks = F.pixel_unshuffle(pixels, 2).view(batch, channels, 4, height // 2, width // 2)
    kinds = torch.einsum("kp,bcphw->bkchw", _matrix(blocks), blocks)  # (B, 4, C, h, w)
    return kinds.reshape(batch, 4 * channels, height // 2, width // 2)


def _matrix(like: Tensor) -> Tensor:
    return like.new_tensor(HADAMARD) / 2
