"""SQL over a dataset: views of what is committed and current, queried with DuckDB.

A query reads the dataset's own shards and nothing else, and writes nothing. DuckDB does not check
the digests of the manifest; `nightrain verify` does.
"""

import glob
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Entry, Manifest, last_attempts
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import superseded_tables
from nightrain.datasets.shards.reviews import read_reviews
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.schema import LABELS as LABELS_SCHEMA
from nightrain.datasets.shards.schema import QUARANTINE as QUARANTINE_SCHEMA
from nightrain.datasets.shards.schema import VARIANTS as VARIANTS_SCHEMA
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.runs.history.run_record import read_runs

READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
VIEWS = ("frames", "variants", "labels", "quarantine", "reviews", "shards", "runs")


SHARDS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("of_table", "path", "split", "condition", "recipe")),
        *((name, pa.int64()) for name in ("number", "retry", "rows", "bytes", "quarantined")),
        ("seconds", pa.float64()),
        ("committed_at", pa.timestamp("us", tz="UTC")),
        ("is_current", pa.bool_()),
    ]
)
RUNS_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        *((name, pa.timestamp("us", tz="UTC")) for name in ("started_at", "ended_at")),
        *((name, pa.string()) for name in ("user", "host", "version", "command", "title")),
        *((name, pa.string()) for name in ("recipe", "recipe_hash", "end", "of_table")),
        *((name, pa.int64()) for name in ("rows", "bytes", "quarantined")),
        ("seconds", pa.float64()),  # summed over the workers
    ]
)
TableFile = tuple[str, ShardFile]  # and the table that it belongs to


class Result(NamedTuple):
    """Rows of a query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool  # there are more rows than were asked for
    lost: dict[str, str]  # files that are left out because they are not there, with the problem


def run_sql(root: Path, query: str, most_rows: int) -> Result:
    """Run one SELECT over the views of a dataset, and return at most `most_rows` rows.

    Raises InvalidRequest for anything but one SELECT, and for what DuckDB refuses; CorruptShard.
    """
    _require_one_select(query)
    with duckdb.connect() as connection:
        lost: dict[str, str] = {}
        paths = list(_create_views(connection, root, lost))
        # Functions such as read_csv could read any other file of the machine.
        connection.execute("SET allowed_paths = $paths", {"paths": paths})
        connection.execute("SET enable_external_access = false")
        connection.execute(
            "SET python_enable_replacements = false"
        )  # nor variables of this process
        connection.execute("SET lock_configuration = true")
        try:
            cursor = connection.execute(query)
            names = tuple(name for name, *_ in cursor.description or ())
            rows = cursor.fetchmany(most_rows + 1)
        except duckdb.Error as error:
            raise InvalidRequest(
                f"The query failed: {str(error).strip()}\nViews: {', '.join(VIEWS)}; "
                "`describe variants` lists the columns of one."
            ) from error
    return Result(names, rows[:most_rows], len(rows) > most_rows, lost)


def _require_one_select(query: str) -> None:
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise InvalidRequest(f"The query is not SQL: {str(error).strip()}") from error
    kinds = [statement.type for statement in statements]
    if len(kinds) != 1 or kinds[0] not in (
        duckdb.StatementType.SELECT,
        duckdb.StatementType.EXPLAIN,
    ):
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InvalidRequest(
            f"found {found}, expected one SELECT. The views show committed files, which no query "
            "changes."
        )


def _create_views(
    connection: duckdb.DuckDBPyConnection, root: Path, lost: dict[str, str]
) -> Iterator[str]:
    """Create the views; yield the files that they read, and put those that are gone in `lost`."""
    manifest = Manifest(root)
    for table in manifest.tables():
        lost |= dict(lost_files(root, manifest.entries(table)))

    def kept(files: list[TableFile]) -> list[TableFile]:
        return [(table, file) for table, file in files if file.path not in lost]

    old = {one.table for one in superseded_tables(root)}
    variants = [table for table in manifest.tables("variants/") if table not in old]
    labels = manifest.tables(f"{LABELS}/")
    files = kept(_rows_of(manifest, [FRAMES]))
    yield from _view(connection, manifest, "frames", files, FRAMES_SCHEMA)
    files = kept(_rows_of(manifest, variants))
    yield from _view(connection, manifest, "variants", files, VARIANTS_SCHEMA)
    files = kept(_rows_of(manifest, labels))
    yield from _view(connection, manifest, "labels", files, LABELS_SCHEMA, "labels")
    files = kept(_quarantined(manifest, [FRAMES, *variants, *labels]))
    yield from _view(connection, manifest, "quarantine", files, QUARANTINE_SCHEMA, "of_table")
    shards = [_shard_row(e, e.shard.table not in old) for e in _all_entries(manifest)]
    connection.register("shards", pa.Table.from_pylist(shards, schema=SHARDS_SCHEMA))
    connection.register("runs", pa.Table.from_pylist(_run_rows(root, lost), schema=RUNS_SCHEMA))
    reviews = [review.model_dump() for review in read_reviews(root).values()]
    kinds = ("sample_id", "verdict", "reason", "reviewer")
    schema = pa.schema(
        [*((name, pa.string()) for name in kinds), ("created_at", pa.timestamp("us", tz="UTC"))]
    )
    connection.register("reviews", pa.Table.from_pylist(reviews, schema=schema))


def _run_rows(root: Path, lost: dict[str, str]) -> list[dict[str, Any]]:
    """A row per run and table that it wrote to; records that cannot be read are put in `lost`."""
    runs, problems = read_runs(root)
    lost |= problems
    return [
        {
            **run.model_dump(include=set(RUNS_SCHEMA.names)),
            "run": name,
            "of_table": table,
            "rows": made.num_rows,
            "bytes": made.num_bytes,
            "quarantined": sum(made.quarantined.values()),
            "seconds": made.seconds,
        }
        for name, run in runs.items()
        for table, made in run.tables.items()
    ]


def _all_entries(manifest: Manifest) -> Iterator[Entry]:
    for table in manifest.tables():
        yield from manifest.entries(table)


def _shard_row(entry: Entry, is_current: bool) -> dict[str, Any]:
    about = entry.about
    return {
        "of_table": entry.shard.table,
        "path": entry.rows.path,
        "split": about.get("split"),
        "condition": about.get("condition"),
        "recipe": about.get("recipe"),
        "number": entry.shard.number,
        "retry": entry.shard.retry,
        "rows": entry.rows.num_rows,
        "bytes": entry.rows.num_bytes,
        "quarantined": sum(entry.counts.values()),
        "seconds": entry.seconds,
        "committed_at": datetime.fromisoformat(entry.created_at) if entry.created_at else None,
        "is_current": is_current,
    }


def _rows_of(manifest: Manifest, tables: Sequence[str]) -> list[TableFile]:
    return [(table, entry.rows) for table in tables for entry in manifest.entries(table)]


def _quarantined(manifest: Manifest, tables: Sequence[str]) -> list[TableFile]:
    """Quarantine of the last attempt at each shard: earlier ones were tried again."""
    last = ((table, last_attempts(manifest.entries(table))) for table in tables)
    found = ((table, entry.quarantine) for table, entries in last for entry in entries)
    return [(table, file) for table, file in found if file is not None]


def _view(
    connection: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    name: str,
    files: Sequence[TableFile],
    schema: pa.Schema,
    table_column: str = "",
) -> Iterator[str]:
    """Create a view over files, or over no rows; yield their paths.

    `table_column` is a column with the table of each row, labels without their first folder.
    """
    empty = schema.empty_table()
    if table_column:
        empty = empty.append_column(table_column, pa.array([], pa.string()))
    if not files:
        connection.register(name, empty)
        return
    paths = {str(manifest.root.absolute() / file.path): table for table, file in files}
    listed = ", ".join(_text(glob.escape(path)) for path in paths)  # DuckDB takes them for patterns
    rows = f"read_parquet([{listed}], union_by_name = true, filename = '_file')"
    if not table_column:
        connection.execute(f"CREATE VIEW {name} AS SELECT * EXCLUDE (_file) FROM {rows}")
    else:
        of_file = pa.table(
            {
                "_file": list(paths),
                table_column: [table.removeprefix(f"{LABELS}/") for table in paths.values()],
            }
        )
        connection.register(f"_files_of_{name}", of_file)
        connection.execute(
            f"CREATE VIEW {name} AS SELECT * EXCLUDE (_file) FROM {rows} "
            f"JOIN _files_of_{name} USING (_file)"
        )
    yield from paths


def _text(value: str) -> str:
    """A string literal of SQL."""
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
