"""Inverse depth is smooth except where the image has an edge.

    L = mean |dx d*| exp(-mean_c |dx I|) + mean |dy d*| exp(-mean_c |dy I|),   d* = d / mean(d)

Godard et al. 2019, sect. 3 (edges after Heise et al. 2013; the mean after Wang et al. 2018, which
keeps the loss from shrinking the depth).
"""

from kornia.losses import inverse_depth_smoothness_loss
from torch import Tensor


def smoothness_loss(inverse_depth: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of mean-normalised inverse depth (B, 1, H, W), 1/m; a scalar.

    `image` (B, 3, H, W) in [0, 1]. Source: Godard et al. 2019, sect. 3. Raises ValueError where the
    sizes differ.
    """
    mean = inverse_depth.mean((2, 3), keepdim=True)  # (B, 1, 1, 1), at least 1 / max_depth_m
    return inverse_depth_smoothness_loss(inverse_depth / mean, image)
