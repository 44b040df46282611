"""Plots of a report as inline SVG, in the colours of the page."""

from collections.abc import Sequence

from nightrain.pipelines.inspect.gate_stats import Histogram

WIDTH, HEIGHT, BASE, GAP = 240, 90, 14, 1


def stacked_bars(counts: Sequence[Sequence[int]], low: str, high: str) -> str:
    """Bars of several kinds on top of each other, with the range of the axis below.

    Kind k of bar i is `counts[k][i]`; the page gives class `kind-k` its colour.
    """
    totals = [sum(column) for column in zip(*counts, strict=True)]
    top, side = max(totals, default=0) or 1, WIDTH / max(1, len(totals))
    parts = []
    for number, column in enumerate(zip(*counts, strict=True)):
        below = 0
        for kind, count in enumerate(column):
            if count:
                tall = (HEIGHT - BASE) * count / top
                y = HEIGHT - BASE - (HEIGHT - BASE) * below / top - tall
                parts.append(
                    f'<rect class="kind-{kind}" x="{number * side:.1f}" y="{y:.1f}" '
                    f'width="{max(side - GAP, 0.5):.1f}" height="{tall:.1f}"/>'
                )
                below += count
    words = (
        f'<text x="0" y="{HEIGHT - 2}">{low}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 2}" text-anchor="end">{high}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="histogram from {low} to '
        f'{high}, largest bar {top}">{"".join(parts)}{words}</svg>'
    )


def score_plot(histogram: Histogram) -> str:
    """Histogram of a gate's score: accepted variants, and rejected ones on top."""
    ends = f"{histogram.lowest:.3g}", f"{histogram.highest:.3g}"
    return stacked_bars((histogram.accepted, histogram.rejected), *ends)
