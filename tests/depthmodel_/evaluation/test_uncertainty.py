"""The spread over seeds, and calibration: oracles, useless spreads, ties, and scipy beside it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.uncertainty import (
    calibration,
    log_depth_spread,
    quantile_table,
    rank_correlation,
    sparsification,
)

NUM = 20_000


def pixels(seed: int = 0, num: int = NUM) -> tuple[np.ndarray, np.ndarray]:
    """A spread that is right: the error is normal with exactly that deviation."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.02, 0.5, num)
    return spread, np.abs(spread * rng.normal(size=num))


def curve(key: np.ndarray, error: np.ndarray, num_points: int) -> np.ndarray:
    """The sparsification curve of distinct keys, one sort and one mean at a time."""
    ordered = error[np.argsort(-key)]
    rest = [ordered[k * len(key) // num_points :] for k in range(num_points)]
    rms = np.sqrt([np.mean(r**2) for r in rest])
    return rms / rms[0]


def test_spread_is_the_relative_deviation_over_seeds() -> None:
    depths_m = [30 * torch.rand(2, 1, 3, 4) + 1 for _ in range(5)]
    spread = log_depth_spread(depths_m)
    logs = np.log(np.stack([d.double().numpy() for d in depths_m]))
    assert spread.shape == (2, 1, 3, 4)
    np.testing.assert_allclose(spread, logs.std(0, ddof=1), rtol=1e-4)
    torch.testing.assert_close(log_depth_spread([7 * d for d in depths_m]), spread)
    assert not log_depth_spread([depths_m[0]] * 3).any()
    with pytest.raises(InvalidRequest, match="found 1 prediction"):
        log_depth_spread(depths_m[:1])


def test_a_right_spread_is_calibrated_in_every_quantile() -> None:
    spread, error = pixels()
    table = quantile_table(spread, error)
    assert len(table) == 10 and sum(row.num_pixels for row in table) == NUM
    for row, after in pairwise(table):
        assert row.largest_spread < after.smallest_spread
    for row in table:
        assert row.num_pixels == pytest.approx(NUM / 10, abs=1)
        assert row.rms_error == pytest.approx(row.rms_spread, rel=0.08)  # 5 / sqrt(2 x 2000)
    doubled = quantile_table(spread, 2 * error)
    assert [r.rms_error for r in doubled] == pytest.approx([2 * r.rms_error for r in table])


def test_rows_are_those_of_a_plain_selection() -> None:
    spread, error = pixels(num=40)
    table = quantile_table(spread, error, 4)
    order = np.argsort(spread).reshape(4, 10)
    for row, chosen in zip(table, order, strict=True):
        s, e = spread[chosen], error[chosen]
        rms = [np.sqrt(np.mean(values**2)) for values in (s, e)]
        assert row == pytest.approx((10, s.min(), s.max(), *rms))


def test_equal_spreads_are_one_quantile() -> None:
    spread = np.array([0.1] * 6 + [0.2] * 3 + [0.3])
    error = np.arange(10.0)
    table = quantile_table(spread, error, 5)
    assert [row.num_pixels for row in table] == [6, 3, 1]
    assert [row.smallest_spread for row in table] == [0.1, 0.2, 0.3]
    shuffled = np.random.default_rng(0).permutation(10)
    assert quantile_table(spread[shuffled], error[shuffled], 5) == table


def test_rank_correlation_is_scipys_ties_included() -> None:
    spread, error = pixels()
    coarse = spread.round(1)
    for s in (spread, coarse):
        assert rank_correlation(s, error) == pytest.approx(spearmanr(s, error)[0])
    assert rank_correlation(spread, spread**3) == pytest.approx(1)
    assert rank_correlation(spread, 1 / spread) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))


def test_curves_are_sorted_means() -> None:
    spread, error = pixels(num=1003)
    found = sparsification(spread, error, 17)
    np.testing.assert_allclose(found.by_spread, curve(spread, error, 17))
    np.testing.assert_allclose(found.by_error, curve(error, error, 17))
    assert found.removed[0] == 0 and found.removed[-1] == pytest.approx(16 / 17)
    between, step = found.by_spread - found.by_error, 1 / 17
    assert found.area == pytest.approx((between[1:] + between[:-1]).sum() / 2 * step)


def test_oracle_has_no_area_and_better_spreads_have_less() -> None:
    spread, error = pixels()
    oracle = sparsification(7 * error**3, error)
    assert oracle.area == pytest.approx(0, abs=1e-12)
    useless = np.random.default_rng(1).uniform(size=NUM)
    areas = [sparsification(s, error).area for s in (spread, useless, -error + error.max())]
    assert 0 < areas[0] < areas[1] < areas[2]
    assert areas[1] == pytest.approx(oracle.random_area, rel=0.05)


def test_area_of_a_uniform_error_is_the_integral() -> None:
    """Errors evenly in [0, 1]: without the largest share x, RMS falls as 1 - x: area 1/2."""
    error = (np.arange(100_000) + 0.5) / 100_000
    found = sparsification(np.ones_like(error), error, 1000)
    assert (found.area, found.random_area) == pytest.approx((0.5, 0.5), abs=1e-3)
    np.testing.assert_allclose(found.by_spread, 1)


def test_equal_spreads_count_as_in_any_order() -> None:
    _, error = pixels(num=300)
    coarse = np.repeat([0.1, 0.2, 0.3], [50, 100, 150])
    found = sparsification(coarse, error)
    shuffled = np.random.default_rng(0).permutation(300)
    again = sparsification(coarse[shuffled], error[shuffled])
    np.testing.assert_allclose(again.by_spread, found.by_spread)
    rng = np.random.default_rng(1)
    orders = [curve(coarse + 1e-6 * rng.uniform(size=300), error, 100) ** 2 for _ in range(2000)]
    np.testing.assert_allclose(np.mean(orders, axis=0), found.by_spread**2, rtol=0.1)


def test_no_error_at_all_is_no_area() -> None:
    found = sparsification(np.arange(5.0), np.zeros(5))
    assert found.area == found.random_area == 0


def test_all_of_it_together_and_what_is_refused() -> None:
    spread, error = pixels()
    found = calibration(spread, error, 5)
    assert found.table == quantile_table(spread, error, 5)
    assert found.rank_correlation == rank_correlation(spread, error)
    assert found.sparsification.area == sparsification(spread, error).area
    for s, e in ((spread[:3], error[:2]), (np.empty(0), np.empty(0)), (spread[None], error[None])):
        with pytest.raises(InvalidRequest, match="same N > 0"):
            calibration(s, e)
    for name, wrong in (("spread", (-spread, error)), ("error", (spread, np.nan * error))):
        with pytest.raises(InvalidRequest, match=f"found a {name}"):
            calibration(*wrong)
