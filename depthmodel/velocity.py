"""The scale that a video alone does not have."""

import torch


def velocity_error(
    T_predicted: torch.Tensor, T_true: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """| |t_predicted| - |t_true| | in metres, mean over the samples present (B,): a scalar.

    Guizilini et al., "3D packing", CVPR 2020, eq. 6, as md4all has it; T (B, 4, 4) in metres. 0
    where no sample has the neighbour.
    """
    predicted, true = (_length(T) for T in (T_predicted, T_true))
    error = torch.where(present, (predicted - true).abs(), 0.0)
    return error.sum() / present.sum().clamp_min(1)


def _length(T: torch.Tensor) -> torch.Tensor:
    """Length (B,) of the translations; the small number keeps the gradient finite at rest."""
    return (T[:, :3, 3].square().sum(dim=1) + 1e-12).sqrt()
