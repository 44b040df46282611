"""Photometric error: difference of two images at each pixel, in structure (SSIM) and colour (L1).

    pe(a, b) = 0.85 mean_c clamp((1 - SSIM(a, b)) / 2, 0, 1) + 0.15 mean_c |a - b|

md4all, eqs. 3 and 4 (docs/papers/md4all.md), after Godard et al. 2019, section 3, and Wang et al.
2004, eq. 13. kornia's SSIM is a different function, with a Gaussian window.
"""

import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape

SSIM_WEIGHT = 0.85
C1, C2 = 0.01**2, 0.03**2  # for images in [0, 1]


def ssim_error(a: Tensor, b: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of images (B, 3, H, W) in [0, 1], per channel and pixel, in [0, 1].

    Means, variances and covariance are of 3x3 windows; borders are reflected. Source: md4all, eq. 4
    (docs/papers/md4all.md). Raises ValueError where the shapes differ.
    """
    same_shape(a=a, b=b)
    a, b = (F.pad(image, (1, 1, 1, 1), mode="reflect") for image in (a, b))  # (B, 3, H+2, W+2)
    mean_a, mean_b = _mean3x3(a), _mean3x3(b)  # (B, 3, H, W)
    squares = mean_a * mean_a + mean_b * mean_b
    product = mean_a * mean_b
    variances = _mean3x3(a * a + b * b) - squares  # of a and of b, added
    covariance = _mean3x3(a * b) - product
    ssim = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return ((1 - ssim) / 2).clamp(0, 1)


def photometric_error(a: Tensor, b: Tensor) -> Tensor:
    """0.85 SSIM error + 0.15 L1 of images (B, 3, H, W) in [0, 1]: a map (B, 1, H, W) in [0, 1].

    Source: md4all, eq. 3 (docs/papers/md4all.md). Raises ValueError where the shapes differ.
    """
    structure = ssim_error(a, b).mean(1, keepdim=True)
    colour = (a - b).abs().mean(1, keepdim=True)
    return SSIM_WEIGHT * structure + (1 - SSIM_WEIGHT) * colour


def _mean3x3(image: Tensor) -> Tensor:
    """Means of 3x3 windows, (B, C, H+2, W+2) to (B, C, H, W); sums beat avg_pool2d on a CPU."""
    rows = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
