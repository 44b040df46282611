"""The student's depth against the teacher's."""

import torch


def distillation(
    inverse_depth: torch.Tensor, taught: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Weighted mean of |s_S - s_T| / s_S on inverse depth, all (B, 1, H, W): a scalar.

    The student stands in the denominator, as md4all has it (Gasperini et al., ICCV 2023): a student
    that is too near by a factor pays at most 1, one that is too far by a factor k pays k - 1, so it
    would rather be near. The sum of the weights is taken to be 1 at least. No gradient reaches the
    teacher or the weights.
    """
    taught, weight = taught.detach(), weight.detach()
    error = (inverse_depth - taught).abs() / inverse_depth
    return (weight * error).sum() / weight.sum().clamp_min(1.0)
