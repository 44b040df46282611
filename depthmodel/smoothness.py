"""Depth that changes where the picture does."""

import torch


def smoothness(inverse_depth: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Mean of |d s*| exp(-|d I|) along x and y: (B, 1, H, W) and (B, 3, H, W) to a scalar.

    s* is the inverse depth over its mean per picture, so that it does not pay to shrink it (Godard
    et al. 2019, eq. 4; Wang et al. 2018); |d I| is the mean over the channels.
    """
    scaled = inverse_depth / inverse_depth.mean(dim=(2, 3), keepdim=True).clamp_min(1e-7)
    return _along(scaled, image, 3) + _along(scaled, image, 2)


def _along(values: torch.Tensor, image: torch.Tensor, dim: int) -> torch.Tensor:
    edge = image.diff(dim=dim).abs().mean(dim=1, keepdim=True)
    return (values.diff(dim=dim).abs() * torch.exp(-edge)).mean()
