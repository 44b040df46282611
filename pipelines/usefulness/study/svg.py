"""Figures as SVG: dots with error bars in rows, and labelled points in a plane."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from nightrain.pipelines.usefulness.label_places import label_places

FONT = 'font-family="Helvetica, Arial, sans-serif" font-size="12"'
ROW, LEFT, PANEL, GAP, TOP, BOTTOM = 20, 150, 220, 50, 30, 36  # pixels
SQUARE = 420
COLOURS = ("#1f4e79", "#c0392b", "#2e8b57", "#8e44ad", "#b8860b")
INK, LIGHT, LINE = "#1f4e79", "#cccccc", "#c0392b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of dots: a title, a value and an error per row (None: no dot), a reference line."""

    title: str
    values: Sequence[tuple[float, float] | None]
    line: float | None = None


def dot_plot(rows: Sequence[str], panels: Sequence[Panel], note: str) -> str:
    """Draw dots with error bars: names in rows, panels from left to right."""
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [_text(LEFT - 8, TOP + ROW * (k + 0.5) + 4, name, "end") for k, name in enumerate(rows)]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (PANEL + GAP), len(rows))
    width = LEFT + len(panels) * (PANEL + GAP)
    parts.append(_text(8, height - 6, note, "start"))
    return _document(width, height, parts)


def line_plot(
    xs: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    x_title: str,
    y_title: str,
) -> str:
    """Draw lines from 0 to 1 over `xs`: a panel per title, a named line per series of it."""
    left, top, side, parts = 60, TOP, PANEL, list[str]()
    low, high = min(xs), max(xs)
    for number, (title, series) in enumerate(panels.items()):
        x0 = left + number * (side + GAP)
        parts.append(_text(x0 + side / 2, top - 10, title))
        parts.append(f'<rect x="{x0}" y="{top}" width="{side}" height="{side}" fill="none" '
                     f'stroke="{LIGHT}"/>')  # fmt: skip
        for colour, values in zip(COLOURS, series.values(), strict=False):
            at = [
                (x0 + side * (x - low) / (high - low), top + side * (1 - min(max(y, 0), 1)))
                for x, y in zip(xs, values, strict=True)
            ]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        parts += [_text(x0, top + side + 16, _number(low)), _text(x0 + side, top + side + 16,
                                                                  _number(high))]  # fmt: skip
        parts.append(_text(x0 + side / 2, top + side + 16, x_title))
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    for place, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        at = left + 130 * place, top + side + 40
        parts.append(f'<rect x="{at[0]}" y="{at[1] - 9}" width="16" height="4" fill="{colour}"/>')
        parts.append(_text(at[0] + 22, at[1], name, "start"))
    parts.append(
        f'<g transform="translate(14 {top + side / 2}) rotate(-90)">{_text(0, 0, y_title)}</g>'
    )
    return _document(left + len(panels) * (side + GAP), top + side + 54, parts)


def scatter_plot(
    names: Sequence[str], points: Sequence[tuple[float, float]], x_title: str, y_title: str
) -> str:
    """Draw labelled points in a plane."""
    xs, ys = (_axis([p[k] for p in points]) for k in (0, 1))
    left, top = 60, 16
    parts = [f'<rect x="{left}" y="{top}" width="{SQUARE}" height="{SQUARE}" fill="none" '
             f'stroke="{LIGHT}"/>']  # fmt: skip
    for tick in xs.ticks:
        parts.append(_text(left + SQUARE * xs.share(tick), top + SQUARE + 16, _number(tick)))
    for tick in ys.ticks:
        parts.append(_text(left - 6, top + SQUARE * (1 - ys.share(tick)) + 4, _number(tick), "end"))
    ats = [(left + SQUARE * xs.share(x), top + SQUARE * (1 - ys.share(y))) for x, y in points]
    frame = left, top, left + SQUARE, top + SQUARE
    for name, at, place in zip(names, ats, label_places(names, ats, frame), strict=True):
        parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4" fill="{INK}"/>')
        parts.append(_text(place.x, place.y, name, place.anchor))
    parts.append(_text(left + SQUARE / 2, top + SQUARE + 34, x_title))
    parts.append(
        f'<g transform="translate(14 {top + SQUARE / 2}) rotate(-90)">{_text(0, 0, y_title)}</g>'
    )
    return _document(left + SQUARE + 20, top + SQUARE + 44, parts)


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def _axis(values: Sequence[float]) -> _Axis:
    """Axis around values, with 3 to 6 ticks at round numbers."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or abs(high) or 1.0
    low, high = low - 0.08 * span, high + 0.08 * span
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(s for s in (step, 2 * step, 5 * step, 10 * step) if (high - low) / s <= 5)
    first = math.ceil(low / step)
    return _Axis(low, high, tuple(k * step for k in range(first, math.floor(high / step) + 1)))


def _panel(panel: Panel, left: float, num_rows: int) -> list[str]:
    found = [value for value in panel.values if value is not None]
    ends = [v + sign * e for v, e in found for sign in (-1, 1)]
    axis = _axis([*ends, *([] if panel.line is None else [panel.line])])
    bottom = TOP + ROW * num_rows

    def x(value: float) -> str:
        return f"{left + PANEL * axis.share(value):.1f}"

    parts = [_text(left + PANEL / 2, TOP - 12, panel.title)]
    for tick in axis.ticks:
        parts.append(_line(x(tick), TOP, x(tick), bottom, LIGHT))
        parts.append(_text(float(x(tick)), bottom + 14, _number(tick)))
    if panel.line is not None:
        parts.append(_line(x(panel.line), TOP, x(panel.line), bottom, LINE, ' stroke-width="2"'))
    for row, value in enumerate(panel.values):
        if value is not None:
            y = TOP + ROW * (row + 0.5)
            parts.append(_line(x(value[0] - value[1]), y, x(value[0] + value[1]), y, INK))
            parts.append(f'<circle cx="{x(value[0])}" cy="{y:.1f}" r="4" fill="{INK}"/>')
    return parts


def _document(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {FONT}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: str, y1: float, x2: str, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def _number(value: float) -> str:
    return f"{value:.4g}"
