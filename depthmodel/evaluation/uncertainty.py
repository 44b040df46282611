"""How far depth predicted from several noise seeds spreads, and whether the spread tells the error.

The spread is the standard deviation of log depth: relative, as the error it is held against. It is
judged without a threshold: by rank (Spearman 1904), by the area under the sparsification error
curve (Ilg et al., ECCV 2018), and by a table of error against spread, quantile by quantile.
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
    """Standard deviation (B, 1, H, W) of ln depth over predictions (B, 1, H, W) in metres.

    Of a sample, with n - 1. Raises InvalidRequest for fewer than two predictions.
    """
    if len(depths_m) < 2:
        raise InvalidRequest(
            f"found {len(depths_m)} prediction(s), expected one for each of several seeds"
        )
    return torch.stack([depth_m.log() for depth_m in depths_m]).std(0)


class QuantileRow(NamedTuple):
    """Pixels whose spread lies in one quantile; calibrated where both deviations are alike."""

    num_pixels: int
    smallest_spread: float
    largest_spread: float
    rms_spread: float
    rms_error: float


class Sparsification(NamedTuple):
    """RMS error of the pixels that are left, as a share of all pixels', and the area between.

    `area` (AUSE) is 0 where the spread sorts pixels as their error does; `random_area` is that of
    a spread that says nothing.
    """

    removed: np.ndarray  # (n,) share of pixels taken out, those of the largest spread first
    by_spread: np.ndarray  # (n,)
    by_error: np.ndarray  # (n,) the oracle: those of the largest error first
    area: float
    random_area: float


class SpreadCalibration(NamedTuple):
    """What the spread says of the error; the correlation is NaN where one of them is constant."""

    table: list[QuantileRow]
    rank_correlation: float
    sparsification: Sparsification


def calibration(
    spread: np.ndarray, error: np.ndarray, num_quantiles: int = 10
) -> SpreadCalibration:
    """Compare the spread (N,) of log depth with the error |ln d - ln d*| (N,) of the same pixels.

    Raises InvalidRequest where there is no pixel, the shapes differ, or a value is negative or not
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
    """Error by quantile of the spread, both (N,), from small to large; raises InvalidRequest.

    Equal spreads fall into one quantile; one that stays empty is left out.
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


def rank_correlation(spread: np.ndarray, error: np.ndarray) -> float:
    """Spearman's rank correlation of two (N,), NaN where one is constant; raises InvalidRequest."""
    ranks = [rankdata(values) for values in _checked(spread, error)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def sparsification(spread: np.ndarray, error: np.ndarray, num_points: int = 100) -> Sparsification:
    """Take out the pixels of the largest spread, 1 / `num_points` after 1 / `num_points` of them.

    Among pixels of equal spread (N,), the squared error (N,) that is left is that expected of any
    order. Without any error, all curves are 0. Raises InvalidRequest.
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
    """Both in float64."""
    spread, error = np.asarray(spread, np.float64), np.asarray(error, np.float64)
    if spread.shape != error.shape or spread.ndim != 1 or not spread.size:
        raise InvalidRequest(
            f"found a spread of shape {spread.shape} and an error of shape {error.shape}, expected "
            "(N,) of the same N > 0: take the pixels at which there is truth"
        )
    for name, values in (("spread", spread), ("error", error)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise InvalidRequest(
                f"found a {name} that is negative or not finite: take |ln d - ln d*| of "
                "positive depths"
            )
    return spread, error
