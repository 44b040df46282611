"""The command `runs`: the history of a dataset."""

from __future__ import annotations

from pydantic import BaseModel

from nightrain.flows.cli.console import console, print_json
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.inspect.verify_job import DatasetOptions, require_dataset
from nightrain.pipelines.runs.history.run_record import RunRecord, read_runs

COLUMNS = (
    *("started (UTC)", "took", "by", "nightrain", "command", "made", "rows", "quarantined"),
    *("s per row", "GB", "end"),
)
TEXTS = ("by", "nightrain", "command", "made", "end")


class RunsReport(BaseModel):
    """Runs by name, oldest first, and the files that cannot be read."""

    runs: dict[str, RunRecord]
    problems: dict[str, str]


@command
def runs(job: DatasetOptions, output: OutputOptions) -> None:
    """List the runs that made a dataset, newest last: who, when, what, how much and how fast.

    A run that made nothing, was killed or ended in an error has no record; `nightrain sql DATASET
    "select * from shards"` lists what every run committed.
    """
    require_dataset(job.dataset)
    found = read_runs(job.dataset)
    if output.as_json:
        print_json(RunsReport(runs=found.runs, problems=found.problems))
        return
    out = console()
    for path, problem in found.problems.items():
        out.print(f"left out {path}: {problem}", markup=False)
    if found.runs:
        _print_table(list(found.runs.values()))
    else:
        out.print("No run is recorded.")


def _print_table(runs: list[RunRecord]) -> None:
    """Print the table at its own width."""
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True)
    for run in runs:
        table.add_row(*_cells(run))
    out = console()
    wide = out.options.update(max_width=10_000)
    out.width = max(out.width, Measurement.get(out, wide, table).maximum)
    out.print(table, markup=False)


def _cells(run: RunRecord) -> tuple[str, ...]:
    each = run.seconds_per_row
    return (
        f"{run.started_at:%Y-%m-%d %H:%M}",
        f"{(run.ended_at - run.started_at).total_seconds():,.0f} s",
        f"{run.user}@{run.host}",
        f"{run.version} {run.commit}".strip(),
        run.command,
        run.title,
        f"{run.num_rows:,}",
        f"{run.num_quarantined:,}",
        "-" if each is None else f"{each:.3g}",
        f"{run.num_bytes / 1e9:.3f}",
        run.end,
    )
