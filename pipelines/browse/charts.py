"""Charts: counts and histograms of the samples that a filter shows."""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel

from nightrain.pipelines.browse.index import SampleIndex
from nightrain.pipelines.browse.pictures import Pictures
from nightrain.pipelines.browse.sample_filter import SampleFilter

NUM_BINS, LUMA_BINS, MOST_LUMAS = 24, 16, 160
COUNTED = ("condition", "recipe", "split", "code")
BY_CONDITION = ("severity",)


class BarChart(BaseModel):
    """Numbers of samples by value and kind."""

    name: str
    counts: dict[str, dict[str, int]]


class ValueHistogram(BaseModel):
    """Numbers of samples in equal bins, of each group: kinds or conditions."""

    name: str
    lowest: float
    highest: float
    groups: dict[str, list[int]]


class Charts(BaseModel):
    """Counts and histograms of a filter."""

    total: int
    bars: list[BarChart]
    histograms: list[ValueHistogram]


class LumaChart(BaseModel):
    """Histogram of the mean luma of evenly spaced samples."""

    sampled: int
    unreadable: int
    histogram: ValueHistogram | None


def charts(index: SampleIndex, chosen: SampleFilter) -> Charts:
    """Counts and histograms of the samples that a filter shows; raises InvalidRequest."""
    numbers = index.numbers(chosen)
    groups = {name: _texts(index, name, numbers) for name in ("kind", "condition")}
    found = []
    for name, values in index.rows.measures.items():
        by = groups["condition" if name in BY_CONDITION else "kind"]
        shown = histogram(name, values[numbers], by, NUM_BINS)
        found += [shown] if shown is not None else []
    bars = (BarChart(name=name, counts=index.counts_by_kind(chosen, name)) for name in COUNTED)
    return Charts(total=len(numbers), bars=[bar for bar in bars if bar.counts], histograms=found)


def luma_chart(index: SampleIndex, pictures: Pictures, chosen: SampleFilter) -> LumaChart:
    """Histogram of the mean luma of at most `MOST_LUMAS` evenly spaced samples, by condition."""
    numbers = index.numbers(chosen)
    places = np.unique(np.linspace(0, len(numbers) - 1, min(MOST_LUMAS, len(numbers))).astype(int))
    lumas, unreadable = pictures.lumas(numbers[places])
    shown = numbers[places][~np.isnan(lumas)]
    lumas = lumas[~np.isnan(lumas)]
    conditions = _texts(index, "condition", shown)
    found = histogram("luma", lumas, conditions, LUMA_BINS, (0.0, 255.0))
    return LumaChart(sampled=len(lumas), unreadable=unreadable, histogram=found)


def histogram(
    name: str,
    values: np.ndarray,
    groups: np.ndarray,
    num_bins: int,
    ends: tuple[float, float] | None = None,
) -> ValueHistogram | None:
    """Histogram of values (N,), some of them NaN, by group (N,); None if there are none."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    values, groups = values[known], groups[known]
    edges = np.histogram_bin_edges(values, num_bins, ends)
    counts: Mapping[str, list[int]] = {
        str(group): np.histogram(values[groups == group], edges)[0].tolist()
        for group in np.unique(groups)
    }
    return ValueHistogram(
        name=name, lowest=float(edges[0]), highest=float(edges[-1]), groups=dict(counts)
    )


def _texts(index: SampleIndex, column: str, numbers: np.ndarray) -> np.ndarray:
    """Texts (N,) of a column at some samples, "none" for null."""
    found = index.rows.table.column(column).take(numbers).fill_null("none")
    return np.array(found.to_pylist(), dtype=np.str_)
