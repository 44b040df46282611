"""Uncertainty from noise seeds: the spread of predicted log depth, and how well it ranks the error.

The spread is a standard deviation of log depth (IID-RDepth, eq. 26, docs/papers/iid_rdepth.md), so
it is relative like the error it is compared with. No threshold is needed: the comparison is by rank
(Spearman 1904), by the area under the sparsification error curve (AUSE; Ilg et al., ECCV 2018), and
by a table of error against spread in quantiles.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import trapezoid
from scipy.stats import rankdata
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest


def log_depth_spread(depths_m: Sequence[Tensor]) -> Tensor:
    """Sample standard deviation (B, 1, H, W) of ln depth over predictions (B, 1, H, W) in metres.

    Raises InvalidRequest for fewer than two predictions.
    """
    if len(depths_m) < 2:
        raise InvalidRequest(
            f"found {len(depths_m)} prediction(s), expected one for each of several seeds"
        )
    return torch.stack([depth_m.log() for depth_m in depths_m]).std(0)


class QuantileRow(NamedTuple):
    """Pixels with a spread in one quantile; calibrated where both deviations are equal."""

    num_pixels: int
    smallest_spread: float
    largest_spread: float
    rms_spread: float
    rms_error: float


class Sparsification(NamedTuple):
    """Sparsification curves: RMS error of the remaining pixels relative to that of all pixels.

    `area` (AUSE) is 0 where the spread ranks pixels as their error does; `random_area` is that of
    an uninformative spread.
    """

    removed: np.ndarray  # (n,) share of pixels removed, those of the largest spread first
    by_spread: np.ndarray  # (n,)
    by_error: np.ndarray  # (n,) the oracle, which removes those of the largest error first
    area: float
    random_area: float


class SpreadCalibration(NamedTuple):
    """How well the spread ranks the error; the correlation is NaN where either is constant."""

    table: list[QuantileRow]
    rank_correlation: float
    sparsification: Sparsification


def calibration(
    spread: np.ndarray, error: np.ndarray, num_quantiles: int = 10
) -> SpreadCalibration:
    """Compare the spread (N,) of log depth with the error |ln d - ln d*| (N,) of the same pixels.

    Raises InvalidRequest for no pixels, different shapes, and values that are negative or not
    finite.
    """
    spread, error = _checked(spread, error)
    return SpreadCalibration(
        quantile_table(spread, error, num_quantiles),
        rank_correlation(spread, error),
        sparsification(spread, error),
    )


def quantile_table(
    spread: np.ndarray, error: np.ndarray, num_quantiles: int = 10
) -> list[QuantileRow]:
    """Tabulate the error (N,) by quantiles of the spread (N,), ascending; raises InvalidRequest.

    Equal spreads fall into one quantile; an empty quantile is left out.
    """
    spread, error = _checked(spread, error)
    edges = np.quantile(spread, np.linspace(0, 1, num_quantiles + 1)[1:-1])
    quantile = np.searchsorted(edges, spread)  # (N,)
    rows: list[QuantileRow] = []
    for index in np.unique(quantile):
        s, e = spread[quantile == index], error[quantile == index]
        row = QuantileRow(len(s), float(s.min()), float(s.max()), _rms(s), _rms(e))
        rows.append(row)
    return rows


def temperature(spread: np.ndarray, error: np.ndarray) -> float:
    """Factor that gives the spread (N,) the size of the error (N,): RMS error over RMS spread.

    Fit it on frames that are not scored. Matching the second moments is robust where a few spreads
    are nearly 0, unlike maximum likelihood, which divides by each. inf where all spreads are 0.
    Raises InvalidRequest.
    """
    spread, error = _checked(spread, error)
    return _rms(error) / _rms(spread) if spread.any() else float("inf")


def coverage(spread: np.ndarray, error: np.ndarray, factor: float) -> tuple[float, float]:
    """Shares of pixels with an error (N,) within 1 and 2 times `factor` * spread (N,).

    A normal error with the right spread has 0.683 and 0.954. Raises InvalidRequest.
    """
    spread, error = _checked(spread, error)
    one, two = (float(np.mean(error <= k * factor * spread)) for k in (1, 2))
    return one, two


def rank_correlation(spread: np.ndarray, error: np.ndarray) -> float:
    """Spearman's rank correlation of two (N,); NaN where one is constant. Raises InvalidRequest."""
    ranks = [rankdata(values) for values in _checked(spread, error)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def sparsification(spread: np.ndarray, error: np.ndarray, num_points: int = 100) -> Sparsification:
    """Remove the pixels of the largest spread in `num_points` equal steps and measure the rest.

    Pixels of equal spread (N,) contribute the expected squared error (N,) of a random order.
    Without any error, all curves are 0. Raises InvalidRequest.
    """
    spread, error = _checked(spread, error)
    points, square = np.arange(num_points), error**2
    removed, left = points / num_points, len(error) - points * len(error) // num_points  # (n,)
    by_spread, by_error = (_left_over(key, square, left) for key in (spread, error))
    area = float(trapezoid(by_spread - by_error, removed))
    flat = np.full_like(by_error, by_error[0])
    random_area = float(trapezoid(flat - by_error, removed))
    return Sparsification(removed, by_spread, by_error, area, random_area)


def _left_over(key: np.ndarray, square: np.ndarray, left: np.ndarray) -> np.ndarray:
    """RMS (n,) of the `left` pixels of the smallest keys, relative to that of all."""
    _, group, sizes = np.unique(key, return_inverse=True, return_counts=True)  # ascending
    expected = np.bincount(group, square) / sizes  # mean square of each group of equal keys
    running = np.cumsum(np.repeat(expected, sizes))  # (N,) of the k + 1 smallest keys
    mean = running[left - 1] / left
    return np.sqrt(mean / running[-1] * len(key)) if running[-1] else np.zeros_like(mean)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _checked(spread: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert both to float64 after checking them."""
    spread, error = np.asarray(spread, np.float64), np.asarray(error, np.float64)
    if spread.shape != error.shape or spread.ndim != 1 or not spread.size:
        raise InvalidRequest(
            f"found a spread of shape {spread.shape} and an error of shape {error.shape}, expected "
            "(N,) with the same N > 0: select the pixels with ground truth"
        )
    for name, values in (("spread", spread), ("error", error)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise InvalidRequest(
                f"found a {name} that is negative or not finite: take |ln d - ln d*| of "
                "positive depths"
            )
    return spread, error
