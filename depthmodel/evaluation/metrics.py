"""Depth metrics of one image (md4all, eq. 13, docs/papers/md4all.md).

Those of Eigen, Puhrsch and Fergus, NIPS 2014, and log10 (Saxena et al., NIPS 2005); SILog is scaled
as in KITTI's depth benchmark (x 100). Ground truth is sparse: 0 means none.
"""

from typing import NamedTuple

import numpy as np

from nightrain.datasets.geometry.crops import Crop

THRESHOLD = 1.25  # of d1; d2 and d3 take its square and cube


class DepthMetrics(NamedTuple):
    """Metrics of one image; a perfect prediction has 0 in the first six and 1 in the last three."""

    abs_rel: float  # mean |p - g| / g
    sq_rel: float  # mean (p - g)^2 / g, metres
    rmse: float  # metres
    rmse_log: float  # of natural logarithms
    silog: float  # 100 x standard deviation of log p - log g
    log10: float  # mean |log10 p - log10 g|
    d1: float  # share of pixels with max(p / g, g / p) < 1.25
    d2: float
    d3: float


METRICS = DepthMetrics._fields


def depth_metrics(prediction_m: np.ndarray, truth_m: np.ndarray) -> DepthMetrics:
    """Compute the metrics of predicted and true depths (N,) in metres, in float64.

    Raises ValueError for no values, different shapes, or depths that are not finite and positive.
    """
    p, g = np.asarray(prediction_m, np.float64), np.asarray(truth_m, np.float64)
    if p.shape != g.shape or p.ndim != 1 or not p.size:
        raise ValueError(f"shapes are {p.shape} and {g.shape}; expected (N,) twice with N > 0")
    if not (np.isfinite(p) & np.isfinite(g) & (p > 0) & (g > 0)).all():
        raise ValueError("a depth is not finite and positive; mask the truth, clamp the prediction")
    difference, log_difference = p - g, np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(difference) / g)),
        sq_rel=float(np.mean(difference**2 / g)),
        rmse=float(np.sqrt(np.mean(difference**2))),
        rmse_log=float(np.sqrt(np.mean(log_difference**2))),
        silog=float(100.0 * np.std(log_difference)),
        log10=float(np.mean(np.abs(log_difference)) / np.log(10.0)),
        d1=float(np.mean(ratio < THRESHOLD)),
        d2=float(np.mean(ratio < THRESHOLD**2)),
        d3=float(np.mean(ratio < THRESHOLD**3)),
    )


def scored_pixels(
    truth_m: np.ndarray, min_depth_m: float, max_depth_m: float, crop: Crop | None = None
) -> np.ndarray:
    """Mask (H, W) bool of the pixels of the ground truth (H, W) in metres that are scored.

    Depth is strictly between the bounds and inside the crop, if any.
    """
    scored = (truth_m > min_depth_m) & (truth_m < max_depth_m)
    if crop is None:
        return scored
    inside = np.zeros(truth_m.shape, bool)
    crop.apply(inside)[:] = True
    return scored & inside


def score_image(
    prediction_m: np.ndarray,
    truth_m: np.ndarray,
    *,
    min_depth_m: float = 0.1,
    max_depth_m: float = 80.0,
    crop: Crop | None = None,
    median_scaled: bool = False,
    affine: bool = False,
    lower_median: bool = False,
) -> DepthMetrics | None:
    """Metrics of predicted against true depth, both (H, W) in metres; None without valid truth.

    The order is that of md4all, eq. 14: mask the truth, scale the prediction by the ratio of
    medians if `median_scaled` (Zhou et al., CVPR 2017; `lower_median`: of an even number of values
    the lower middle one, as torch and md4all have it), or fit it in scale and shift if `affine`
    (see `aligned_depth`), clamp the prediction to the bounds. Raises
    ValueError where the shapes differ or the prediction is not finite and positive.
    """
    if prediction_m.shape != truth_m.shape or truth_m.ndim != 2:
        raise ValueError(
            f"prediction is {prediction_m.shape} and truth {truth_m.shape}; expected (H, W) twice"
        )
    scored = scored_pixels(truth_m, min_depth_m, max_depth_m, crop)
    if not scored.any():
        return None
    p, g = prediction_m[scored].astype(np.float64), truth_m[scored].astype(np.float64)
    if not (np.isfinite(p) & (p > 0)).all():
        raise ValueError("the prediction is not finite and positive where it is scored")
    if median_scaled:
        p *= _median(g, lower_median) / _median(p, lower_median)
    if affine:
        p = aligned_depth(1.0 / p, g, max_depth_m)
    return depth_metrics(np.clip(p, min_depth_m, max_depth_m), g)


def aligned_depth(
    inverse_depth: np.ndarray,
    truth_m: np.ndarray,
    max_depth_m: float,
    fitted: np.ndarray | slice = slice(None),
) -> np.ndarray:
    """Depth in metres of inverse depth, fitted to the truth in scale and shift; all of one shape.

    `fitted` is the mask of the pixels that are fitted (default: all); the others are aligned, too.
    Least squares in inverse depth, for networks that predict it up to both: MiDaS (Ranftl et al.,
    TPAMI 2022, section 5), Depth Anything and DepthAnything-AC (arXiv 2507.01634). Where the fitted
    inverse depth is below that of `max_depth_m`, the depth is `max_depth_m`.
    """
    inverse_truth = 1.0 / truth_m[fitted].astype(np.float64)
    scale, shift = fitted_scale_and_shift(inverse_depth[fitted], inverse_truth)
    return 1.0 / np.maximum(scale * inverse_depth + shift, 1.0 / max_depth_m)


def fitted_scale_and_shift(values: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Scale and shift with the least squared error of scale * values + shift to a target, (N,)."""
    x, y = values.astype(np.float64), target.astype(np.float64)
    variance = x.var()
    scale = float(np.mean((x - x.mean()) * (y - y.mean())) / variance) if variance > 0 else 0.0
    return scale, float(y.mean() - scale * x.mean())


def _median(values: np.ndarray, lower: bool) -> float:
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle] if lower else np.median(values))
