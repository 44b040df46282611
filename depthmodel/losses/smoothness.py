"""Edge-aware smoothness: penalises gradients of inverse depth where the image has no edge.

    L = mean |dx d*| exp(-mean_c |dx I|) + mean |dy d*| exp(-mean_c |dy I|),   d* = d / mean(d)

md4all, eq. 7 (docs/papers/md4all.md), after Godard et al. 2019, section 3 (edges after Heise et al.
2013; division by the mean after Wang et al. 2018, which keeps the loss from shrinking the depth).
"""

from kornia.losses import inverse_depth_smoothness_loss
from torch import Tensor

from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, need


class SmoothnessTerm(LossTerm):
    """Smoothness of the predicted inverse depth on the batch's target image."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the batch has no target."""
        return TermValue(smoothness_loss(inputs.inverse_depth, need(inputs.batch, "target")))


def smoothness_loss(inverse_depth: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of mean-normalised inverse depth (B, 1, H, W) in 1/m; a scalar.

    `image` (B, 3, H, W) in [0, 1]. Source: md4all, eq. 7 (docs/papers/md4all.md). Raises ValueError
    where the sizes differ.
    """
    mean = inverse_depth.mean((2, 3), keepdim=True)  # (B, 1, 1, 1), at least 1 / max_depth_m
    return inverse_depth_smoothness_loss(inverse_depth / mean, image)
