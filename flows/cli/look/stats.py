"""The command `stats`: counts and measures of a dataset, by table or by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nightrain.flows.cli.console import console, print_json, progress_bar
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.look.groups import print_group_stats
from nightrain.flows.cli.options import command
from nightrain.pipelines.inspect.groups.keys import GroupKey
from nightrain.pipelines.inspect.verify_job import DatasetOptions, require_dataset

if TYPE_CHECKING:
    from rich.console import Console

    from nightrain.pipelines.inspect.gate_stats import GateStats
    from nightrain.pipelines.inspect.source_counts import SourceStats
    from nightrain.pipelines.inspect.stats import DatasetStats, Spread, TableStats

BLOCKS = " ▁▂▃▄▅▆▇█"
HEADINGS = (
    *("table", "rows", "bad rows", "size (MB)", "mean luma (0-255)"),
    *("severity (0-1)", "time (ms per variant)"),
)


class StatsOptions(DatasetOptions):
    """Options of `nightrain stats`."""

    sample: int = Field(default=500, ge=1, description="Images decoded per table")
    by: tuple[GroupKey, ...] = Field(
        default=(),
        description="Print one table of counts and means by these keys instead, from stored "
        "columns",
    )
    pictures: int = Field(
        default=0,
        ge=0,
        description="With --by: pictures of each group to decode for luma and colour",
    )


@command
def stats(job: StatsOptions, output: OutputOptions) -> None:
    """Count and measure a dataset: sources, luminance, severity, physical values, depth.

    With --by, such as `--by condition,severity`: frames, variants, accepted share, reasons,
    severity, luma, LiDAR, labels, prompts, seeds, sizes, seconds and GB of each group.
    """
    from nightrain.pipelines.inspect.stats import dataset_stats

    require_dataset(job.dataset)
    if job.by:
        print_group_stats(job.dataset, job.by, job.pictures, as_json=output.as_json)
        return
    with progress_bar("tables", shown=not output.as_json) as bar:
        report = dataset_stats(job.dataset, job.sample, bar.reach)
    if output.as_json:
        print_json(report)
    else:
        _print_lost(report)
        print_stats(report)
        _print_superseded(job.dataset)


def _print_superseded(dataset: Path) -> None:
    """Print the tables of variants that no recipe uses any more, which the counts include."""
    from nightrain.datasets.shards.manifest import Manifest
    from nightrain.datasets.shards.recipe_records import condition_of, folder_of, superseded_tables

    manifest = Manifest(dataset)
    for old in superseded_tables(dataset):
        if entries := manifest.entries(old.table):
            by = f" by {folder_of(old.successor)}" if old.successor else ""
            console().print(
                f"superseded  {condition_of(old.table)} {folder_of(old.table)}{by}: "
                f"{sum(entry.rows.num_rows for entry in entries):,} variants; `nightrain prune "
                f"{dataset} --superseded` removes them",
                markup=False,
            )


def _print_lost(report: DatasetStats) -> None:
    """Print the committed files that are left out because they are not there."""
    from rich.markup import escape

    for path, problem in report.lost.items():
        console().print(f"[red]left out[/red] {escape(path)}: {escape(problem)}")
    if report.lost:
        console().print("Run `nightrain repair` to see what can be repaired, and how.")


def print_stats(report: DatasetStats) -> None:
    """Print statistics as tables."""
    out = console()
    _print_tables(out, report)
    for name, t in report.tables.items():
        _print_severity(out, name, t)
    _print_cameras(out, report)
    _print_physical(out, report)
    for name, t in report.tables.items():
        _print_labels(out, name, t)
    for name, t in report.tables.items():
        if t.gates is not None:
            _print_gates(out, name, t.gates)
    for name, source in report.sources.items():
        _print_source(out, name, source)
    _print_depth(out, report)


def _print_tables(out: Console, report: DatasetStats) -> None:
    """Print one line per table, what was sampled, and the reasons of quarantined rows."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in HEADINGS:
        table.add_column(name, justify="left" if name == "table" else "right")
    for name, t in report.tables.items():
        table.add_row(_short(name), *_cells(t))
    out.print(table)
    out.print(
        f"Mean luma and LiDAR depth are those of at most {report.sampled_rows} evenly spaced rows "
        "per table (--sample); all other figures are those of all rows."
    )
    for name, t in report.tables.items():
        if t.quarantined:
            out.print(f"  bad rows of {_short(name)}: {_counts(t.quarantined)}")
        if t.num_uncontrolled:
            out.print(
                f"  without control: {t.num_uncontrolled:,} of {t.num_rows:,} variants of "
                f"{_short(name)}; not trained on unless included"
            )


def _print_gates(out: Console, name: str, gates: GateStats) -> None:
    """Print how many variants gates accepted, why not the others, and where the scores lie."""
    total, first = gates.num_accepted + gates.num_rejected, gates.by_seed_number.get(0, 0)
    out.print(f"\ngates of {_short(name)}: {'; '.join(gates.gates)}")
    out.print(
        f"  {gates.num_accepted:,} of {total:,} variants accepted ({gates.accepted_share:.1%}), "
        f"{first:,} with their first seed"
    )
    if gates.codes:
        out.print(f"  rejected, with earlier seeds: {_counts(gates.codes)}")
    for score, found in gates.scores.items():
        bars = " | ".join(f"{_bars(counts)}" for counts in (found.accepted, found.rejected))
        out.print(f"  {score:24s} {found.lowest:8.3g} to {found.highest:<8.3g} {bars}")
    out.print("  left of |: accepted variants, right of it: rejected ones")


def _bars(counts: Sequence[int]) -> str:
    """A histogram in one line: a block per bin, as high as its share of the largest."""
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-(len(BLOCKS) - 1) * n // most)] if most else BLOCKS[0] for n in counts)


def _short(table: str) -> str:
    return table.removeprefix("variants/")


def _print_physical(out: Console, report: DatasetStats) -> None:
    """Print the ranges of the physical values, whose names end with their units."""
    if any(t.physical for t in report.tables.values()):
        out.print("\nphysical values (units at the end of the names)")
    for name, t in report.tables.items():
        for quantity, spread in t.physical.items():
            condition = name.rpartition("/")[2]
            out.print(f"  {condition:11s} {quantity:15s} {_range(spread)}")


def _print_depth(out: Console, report: DatasetStats) -> None:
    """Print the histogram of the frames' LiDAR depth."""
    if report.depth_share:
        out.print("\nLiDAR depth of the frames, share of the returns by depth in metres")
        edges = zip(report.depth_edges_m, report.depth_edges_m[1:], strict=False)
        for (near, far), share in zip(edges, report.depth_share, strict=True):
            out.print(f"  {near:4.0f} to {far:3.0f} m  {share:6.1%}  {'#' * round(60 * share)}")


def _print_severity(out: Console, name: str, t: TableStats) -> None:
    """Print the quantiles of the severity of a table's variants."""
    if t.severity_quantiles:
        shown = ", ".join(f"{share:.0%} {v:.2f}" for share, v in t.severity_quantiles.items())
        out.print(f"  severity quantiles of {_short(name)}: {shown}")


def _print_cameras(out: Console, report: DatasetStats) -> None:
    """Print rows by condition and camera, if there are several cameras."""
    from rich.table import Table

    counts: Counter[tuple[str, str]] = Counter()
    for name, t in report.tables.items():
        for condition, by_camera in t.by_condition_and_camera.items():
            what = "variants" if name.startswith("variants/") else name
            for camera, count in by_camera.items():
                counts[f"{what}, {condition}", camera] += count
    cameras = sorted({camera for _, camera in counts})
    if len(cameras) < 2:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("rows by condition and camera")
    for camera in cameras:
        table.add_column(camera, justify="right")
    for what in dict.fromkeys(what for what, _ in counts):
        table.add_row(what, *(f"{counts[what, camera]:,}" for camera in cameras))
    out.print()
    out.print(table)


def _print_labels(out: Console, name: str, t: TableStats) -> None:
    """Print the labels' shares of pixels with depth and of confident pixels."""
    if t.depth_share and t.confident_share:
        out.print(
            f"\n{name}: depth in {t.depth_share.mean:.1%} of the pixels, confident in "
            f"{t.confident_share.mean:.1%} (by frame {_range(t.confident_share)})"
        )


def _print_source(out: Console, name: str, s: SourceStats) -> None:
    """Print the counts of one source: a table by condition, and a line per property."""
    from rich.table import Table

    bad = f", {s.num_quarantined} in quarantine" if s.num_quarantined else ""
    out.print(
        f"\n[bold]{name}[/bold]: {s.num_frames:,} frames of {s.num_scenes:,} scenes in "
        f"{s.num_logs:,} logs{bad}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  split")
    for heading in (*s.by_condition, "all"):
        table.add_column(heading, justify="right")
    for split, counts in s.by_split_and_condition.items():
        cells = [f"{counts.get(condition, 0):,}" for condition in s.by_condition]
        table.add_row(f"  {split}", *cells, f"{s.by_split[split]:,}")
    out.print(table)
    for what, counts in (
        ("cameras", s.by_camera),
        ("sizes", s.by_size),
        ("depth", s.by_depth),
        ("neighbours", s.by_neighbours),
    ):
        out.print(f"  {what:11s} {_counts(counts)}")


def _cells(t: TableStats) -> list[str]:
    return [
        str(t.num_rows),
        str(sum(t.quarantined.values())),
        f"{t.num_bytes / 1e6:.1f}",
        f"{t.luminance.mean:.0f}" if t.luminance else "-",
        f"{t.severity.lowest:.2f}-{t.severity.highest:.2f}" if t.severity else "-",
        f"{1000 * t.gen_seconds.mean:.0f}" if t.gen_seconds else "-",
    ]


def _range(spread: Spread) -> str:
    return f"{spread.lowest:.3g} to {spread.highest:.3g}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
