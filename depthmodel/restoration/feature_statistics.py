"""Feature statistics: mean, deviation and principal components over a training set.

Accumulated in float64, batch by batch, by the merging rule of Chan, Golub and LeVeque (1979), so
that a large mean does not cancel a small variance. IID-RDepth, eq. 11 (docs/papers/iid_rdepth.md).
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest

MIN_DEVIATION = 0.01  # lower limit, for dead channels, as a share of the median deviation


class FeatureStatistics(NamedTuple):
    """Statistics that standardise features (B, C, h, w); float64, on the CPU."""

    mean: Tensor  # (C,)
    std: Tensor  # (C,)
    basis: Tensor | None  # (K, C) orthonormal rows: components of the standardised features
    component_std: Tensor | None  # (K,) deviation along them


@torch.no_grad()
def feature_statistics(
    features: Iterable[Tensor], num_components: int | None = None
) -> FeatureStatistics:
    """Statistics over all positions of all maps (B, C, h, w), with `num_components` components.

    The deviation of a channel is at least 1 % of the median deviation, that of a component at least
    1 % of a channel's. Raises InvalidRequest if there are no maps, for values that are not finite,
    and for constant features.
    """
    count, mean, moment = 0, torch.zeros(()), torch.zeros(())
    for one in features:
        places = one.detach().movedim(1, -1).flatten(0, -2).double().cpu()  # (n, C)
        if not torch.isfinite(places).all():
            raise InvalidRequest("found features that are not finite: check the encoder's weights")
        centre = places.mean(0)
        off = places - centre
        new = off.square().sum(0) if num_components is None else off.T @ off  # (C,) or (C, C)
        if count == 0:
            count, mean, moment = len(places), centre, new
            continue
        shift, total = centre - mean, count + len(places)
        between = shift.square() if num_components is None else torch.outer(shift, shift)
        moment += new + between * (count * len(places) / total)
        mean += shift * (len(places) / total)
        count = total
    if count == 0:
        raise InvalidRequest("found no features to calibrate with: give at least one map")
    return _statistics(mean, moment / count, num_components)


def _statistics(mean: Tensor, covariance: Tensor, num_components: int | None) -> FeatureStatistics:
    """Statistics of a variance (C,) or, with components, of a covariance (C, C)."""
    variance = covariance if num_components is None else covariance.diagonal()
    std = variance.sqrt()
    if not std.any():
        raise InvalidRequest(
            "found features that are the same everywhere: give maps of several images"
        )
    # Not the mean: a few channels of a transformer are far larger than all others.
    std = std.clamp_min(MIN_DEVIATION * float(std[std > 0].median()))
    if num_components is None:
        return FeatureStatistics(mean, std, None, None)
    values, vectors = torch.linalg.eigh(covariance / torch.outer(std, std))  # ascending
    basis = vectors.T.flip(0)[:num_components]  # (K, C)
    # An eigenvector's sign is arbitrary; the largest entry is made positive.
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    deviation = values.flip(0)[:num_components].clamp_min(MIN_DEVIATION**2).sqrt()
    return FeatureStatistics(mean, std, basis * largest.sign(), deviation)
