"""Means, changes and tests over places and seeds, of the scores of images.

The images of one place resemble each other, and the images of one training run share its luck. Both
are random effects, crossed: every run is scored at every place. The standard error and its degrees
of freedom count both (docs/papers/study_statistics.md, eqs. 2 and 3), so that a test holds for
other places and other seeds. Tests are one-sided at 5 %.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

LEVEL = 0.05


class FrozenModel(BaseModel):
    """Model whose values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MeanEstimate(FrozenModel):
    """A mean over images and seeds; without at least 2 places there is no standard error."""

    mean: float
    standard_error: float | None = None
    degrees_of_freedom: float | None = None

    def p_below(self, bound: float) -> float | None:
        """One-sided p-value of the hypothesis that the true value is at least `bound`.

        0 where there is no spread and the mean is below the bound; None without standard error.
        """
        if self.standard_error is None or self.degrees_of_freedom is None:
            return None
        if self.standard_error == 0:
            return 0.0 if self.mean < bound else 1.0
        from scipy.stats import t

        ratio = (self.mean - bound) / self.standard_error
        return float(t.cdf(ratio, self.degrees_of_freedom))


def estimate(values: np.ndarray, places: Sequence[str]) -> MeanEstimate:
    """Mean of values (seeds, images), with its standard error over places and seeds.

    Source: docs/papers/study_statistics.md, eqs. 1 to 3. With one seed it is the cluster-robust
    error of Liang and Zeger (1986) by place.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    names, place_of = np.unique(np.asarray(places), return_inverse=True)
    mean, (num_seeds, num_images), num_places = float(values.mean()), values.shape, len(names)
    if num_places < 2:
        return MeanEstimate(mean=mean)
    of_place = np.zeros((num_places, num_images))
    of_place[place_of, np.arange(num_images)] = num_places / num_images
    parts = (values - mean) @ of_place.T  # (seeds, places), of mean 0
    by_place, by_seed = parts.mean(axis=0), parts.mean(axis=1)
    square_places = num_seeds * np.sum(by_place**2) / (num_places - 1)
    scale = num_places * num_seeds
    if num_seeds == 1:
        return _estimate(mean, square_places / scale, num_places - 1)
    square_seeds = num_places * np.sum(by_seed**2) / (num_seeds - 1)
    freedom = (num_places - 1) * (num_seeds - 1)
    square_rest = np.sum((parts - by_place - by_seed[:, None]) ** 2) / freedom
    if square_seeds <= square_rest:  # runs differ no more than chance explains
        return _estimate(mean, square_places / scale, num_places - 1)
    variance = square_places + square_seeds - square_rest
    spread = square_places**2 / (num_places - 1) + square_seeds**2 / (num_seeds - 1)
    spread += square_rest**2 / freedom
    return _estimate(mean, variance / scale, variance**2 / spread)


def change(arm: np.ndarray, baseline: np.ndarray, places: Sequence[str]) -> MeanEstimate:
    """Relative change of an arm's mean against a baseline's, paired by seed and image.

    Both are (seeds, images); 0.1 is 10 % more. Source: docs/papers/study_statistics.md, eq. 4.
    """
    size = baseline.mean(axis=1, keepdims=True)
    found = float(np.mean(arm.mean(axis=1, keepdims=True) / size)) - 1.0
    return estimate((arm - (1.0 + found) * baseline) / size, places).model_copy(
        update={"mean": found}
    )


def p_of_change(
    arm: np.ndarray, baseline: np.ndarray, places: Sequence[str], bound: float
) -> float | None:
    """One-sided p-value of the hypothesis that the change is at least `bound`.

    It tests arm - (1 + bound) baseline, so no ratio has to be normally distributed (Fieller 1954;
    docs/papers/study_statistics.md, eq. 5).
    """
    size = baseline.mean(axis=1, keepdims=True)
    return estimate((arm - (1.0 + bound) * baseline) / size, places).p_below(0.0)


def gap_closed(
    arm: np.ndarray, clear: np.ndarray, true: np.ndarray, places: Sequence[str]
) -> MeanEstimate | None:
    """Share of the gap between two arms that a third one closes: 1 is all of it.

    All are (seeds, images) of an error. None where the gap between `clear` and `true` is not above
    0 at 95 %. Source: docs/papers/study_statistics.md, eq. 6.
    """
    gap = float((clear - true).mean())
    p_no_gap = estimate(true - clear, places).p_below(0.0)
    if gap <= 0 or p_no_gap is None or p_no_gap > LEVEL:
        return None
    share = float((clear - arm).mean()) / gap
    found = estimate(((clear - arm) - share * (clear - true)) / gap, places)
    return found.model_copy(update={"mean": share})


def _estimate(mean: float, variance: float, freedom: float) -> MeanEstimate:
    return MeanEstimate(
        mean=mean, standard_error=float(np.sqrt(variance)), degrees_of_freedom=float(freedom)
    )
