"""How different two pictures are, pixel by pixel, as self-supervised depth measures it."""

import torch
from torch.nn import functional as F

SSIM_SHARE = 0.85  # the rest is the absolute difference
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]


def ssim_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """clamp((1 - SSIM) / 2, 0, 1) of two pictures (B, C, H, W) in [0, 1], per channel and pixel.

    Windows are 3x3 means, mirrored at the border (Wang et al. 2004; Godard et al. 2019, eq. 2).
    """
    a, b = (F.pad(x, (1, 1, 1, 1), mode="reflect") for x in (a, b))
    mean_a, mean_b = _mean(a), _mean(b)
    # One pooling for the three second moments: it is what this function costs.
    moments = _mean(torch.cat((a * a, b * b, a * b)))  # (3 B, C, H, W)
    square_a, square_b, product = moments.chunk(3)
    var_a, var_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return ((1 - luminance * structure) / 2).clamp(0, 1)


def photometric_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """0.85 SSIM error + 0.15 |a - b| as a mean over channels: (B, C, H, W) twice to (B, 1, H, W).

    Godard et al., "Digging into self-supervised monocular depth estimation", ICCV 2019, eq. 3.
    """
    error = SSIM_SHARE * ssim_error(a, b) + (1 - SSIM_SHARE) * (a - b).abs()
    return error.mean(dim=1, keepdim=True)


def _mean(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, stride=1)
