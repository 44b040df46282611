"""The command `sql`: asks a dataset anything, without reading more of it than that takes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import console, say
from nightrain.flows.cli.options import command


class SqlOptions(Settings):
    """Options of `nightrain sql`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    query: str = Field(
        description="One SELECT in DuckDB's SQL",
        json_schema_extra={"cli": "argument"},
        max_length=100_000,
    )
    form: Literal["table", "csv", "json"] = Field(
        default="table", description="Form of the result", json_schema_extra={"cli": "--as"}
    )
    rows: int = Field(default=1000, ge=1, description="Largest number of rows")


@command
def sql(job: SqlOptions) -> None:
    """Query a dataset with SQL: frames, variants, labels, quarantine, reviews, shards and runs.

    These views show what is committed and current: variants of superseded recipes are left out.
    `shards` has the history, a row per commit, and `runs` a row per run and table. Nothing else can
    be read, and nothing is written. Examples:

    nightrain sql DATASET "select condition, count(*) from variants group by all"

    nightrain sql DATASET "select * from (describe variants)"
    """
    from nightrain.pipelines.inspect.sql import run_sql
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    result = run_sql(job.dataset, job.query, job.rows)
    for path, problem in result.lost.items():
        print(f"left out {path}: {problem}", file=sys.stderr)
    if job.form == "json":
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        say(json.dumps(rows, indent=2, default=_plain))
    elif job.form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(result.columns)
        writer.writerows([_cell(value) for value in row] for row in result.rows)
    else:
        _print_table(result.columns, result.rows)
    if result.is_cut:
        print(f"only the first {job.rows} rows; --rows gives more", file=sys.stderr)


def _print_table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for position, name in enumerate(columns):
        numbers = all(isinstance(row[position], int | float) for row in rows[:20])
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table, markup=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=_plain)
    return str(_plain(value)) if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> str:
    """Payloads as their size, everything else, such as a time, as its text."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
