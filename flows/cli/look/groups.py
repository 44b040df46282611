"""The table of `stats --by`: a line per group, and the reasons of what was rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nightrain.flows.cli.console import console, print_json
from nightrain.pipelines.inspect.groups.keys import GroupKey

if TYPE_CHECKING:
    from nightrain.pipelines.inspect.groups.group_stats import Group, GroupReport

NOTHING = "-"
EMPTY = {NOTHING, "0", "0.0%"}
WIDEST = 10_000  # characters
NUM_REASONS, NUM_SIZES = 3, 2  # that the table shows; --json has all

Column = tuple[str, "Callable[[Group], str]"]


def print_group_stats(
    dataset: Path, by: tuple[GroupKey, ...], pictures: int, *, as_json: bool
) -> None:
    """Print a dataset's statistics by some keys; raises InvalidRequest if it is empty."""
    from nightrain.pipelines.inspect.groups.group_stats import group_stats_by

    report = group_stats_by(dataset, tuple(dict.fromkeys(by)), pictures)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: GroupReport) -> None:
    from rich.markup import escape

    out = console()
    for path, problem in report.problems.items():
        out.print(f"[red]left out[/red] {escape(path)}: {escape(problem)}")
    if report.problems:
        out.print("Run `nightrain repair` to see what can be repaired, and how.")
    _print_table(report)


def _print_table(report: GroupReport) -> None:
    """Print the table at its own width, without the columns that have no value in any group."""
    from rich.measure import Measurement
    from rich.table import Table

    cells = {
        name: [show(group) for group in report.groups]
        for name, show in (*((key, _key(key)) for key in report.by), *_columns(report))
    }
    kept = {n: c for n, c in cells.items() if n in report.by or {*c} - EMPTY}
    table = Table(box=None, pad_edge=False)
    for name in kept:
        is_text = name in (*report.by, "main reasons", "sizes")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in zip(*kept.values(), strict=True):
        table.add_row(*row)
    out = console()
    wide = out.options.update(max_width=WIDEST)
    out.width = max(out.width, Measurement.get(out, wide, table).maximum)
    out.print(table, markup=False)


def _key(key: GroupKey) -> Callable[[Group], str]:
    return lambda group: group.keys[key]


def _columns(report: GroupReport) -> list[Column]:
    """Columns behind the keys, each with its unit or its meaning in its name."""
    physical = dict.fromkeys(name for group in report.groups for name in group.physical)
    return [
        ("frames", lambda g: f"{g.num_frames:,}"),
        ("variants", lambda g: f"{g.num_variants:,}"),
        ("accepted", lambda g: _share(g.accepted_share)),
        ("rejected", lambda g: f"{g.num_rejected:,}"),
        ("failed", lambda g: f"{g.num_failed:,}"),
        ("severity", _severity),
        *((f"mean {name}", _physical(name)) for name in physical),
        ("mean luma", lambda g: _number(g.luma)),
        ("span of luma", lambda g: _number(g.luma_span)),
        ("red / blue", lambda g: _number(g.red_over_blue)),
        ("highlight luma", lambda g: _number(g.highlight_luma)),
        ("luma spread", lambda g: _number(g.luma_spread)),
        ("LiDAR", lambda g: _share(g.lidar_share)),
        ("exact depth", lambda g: _share(g.exact_depth_share)),
        ("labelled", lambda g: _share(g.labelled_share)),
        ("confident", lambda g: _share(g.confident_share)),
        ("prompts", lambda g: f"{g.num_prompts:,}"),
        ("seeds", lambda g: f"{g.num_seeds:,}"),
        ("seconds", lambda g: f"{g.gen_seconds:,.1f}" if g.gen_seconds else NOTHING),
        ("GB", lambda g: f"{g.gigabytes:.3f}"),
        ("sizes", lambda g: _counts(g.sizes, NUM_SIZES)),
        ("main reasons", lambda g: _counts(g.reasons, NUM_REASONS)),
    ]


def _physical(name: str) -> Callable[[Group], str]:
    return lambda group: _number(group.physical.get(name))


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def _severity(group: Group) -> str:
    found = group.severity
    return NOTHING if found is None else f"{found.lowest:.2f}-{found.highest:.2f}"


def _counts(counts: dict[str, int], most: int) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    others = len(counts) - most
    return f"{shown} and {others} more" if others > 0 else shown or NOTHING
