"""Figures: measured values with their goals and reference values, as a table and as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HEADER = ("measure", "figure", "value", "goal", "met", "references", "samples", "seeds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value; `goal` is a lower bound, or an upper one if `lower_is_better`."""

    measure: str
    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    lower_is_better: bool = False
    references: Mapping[str, float] = field(default_factory=dict)
    samples: int
    seeds: str

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value < self.goal if self.lower_is_better else self.value >= self.goal

    def row(self) -> tuple[str, ...]:
        """Cells of the table."""
        sign = "<" if self.lower_is_better else ">="
        goal = "" if self.goal is None else f"{sign} {number(self.goal)}"
        met = {None: "", True: "yes", False: "missed"}[self.met]
        references = "; ".join(f"{name} {number(v)}" for name, v in self.references.items())
        value = f"{number(self.value)} {self.unit}".strip()
        return self.measure, self.name, value, goal, met, references, str(self.samples), self.seeds

    def to_json(self) -> dict[str, Any]:
        """Return the figure as JSON data; a value that is not finite is null."""
        found = asdict(self) | {"met": self.met, "value": _finite(self.value)}
        found["references"] = {name: _finite(value) for name, value in self.references.items()}
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Figure":
        """Figure of its JSON data."""
        rest = {name: value for name, value in data.items() if name != "met"}
        rest["value"] = math.nan if data["value"] is None else data["value"]
        return cls(**rest)


def number(value: float) -> str:
    """Short text of a number: three significant digits."""
    if not math.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}"


def table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table of figures, whose columns also line up as plain text."""
    rows = [HEADER, *(figure.row() for figure in figures)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    lines = [_line([c.ljust(w) for c, w in zip(row, widths, strict=True)]) for row in rows]
    return "\n".join([lines[0], _line(["-" * width for width in widths]), *lines[1:]]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
