"""Sample rows: the scalar columns of frames, variants and rejected rows, read once into memory.

What cannot be read is listed with its problem, and the rest is kept.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nightrain.datasets.errors import CorruptShard, Reason, UnreadableFile
from nightrain.datasets.loader.table_rows import read_columns
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.schema import ORIGIN_COLUMNS, PHYSICAL
from nightrain.pipelines.browse.shown_files import (
    FAILED,
    FRAME,
    REJECTED,
    VARIANT,
    ShownFile,
    ShownFiles,
    shown_files,
)

SCALARS = (
    *("width", "height", "severity", "physical", "seed_number", "recipe", "engine"),
    *("caption", "prompt", "gate_scores", "gen_seconds"),
)
NUMBERS = ("severity", "seed_number", "gen_seconds")
MAX_SCORES = 200  # names of scores that are indexed
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("sample_id", "frame_id", "kind", "of_table")),
        ("file", pa.int32()),
        ("row", pa.int32()),
        *((name, pa.string()) for name in ORIGIN_COLUMNS if name != "timestamp_us"),
        ("timestamp_us", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("severity", pa.float64()),
        ("physical", PHYSICAL),
        ("seed_number", pa.int16()),
        *((name, pa.string()) for name in ("recipe", "engine", "caption", "prompt")),
        ("gate_scores", pa.string()),
        ("gen_seconds", pa.float64()),
        ("message", pa.string()),
        ("codes", pa.list_(pa.string())),
    ]
)


class SampleRows(NamedTuple):
    """Samples of a dataset: their columns, where their pictures are, and what cannot be read."""

    table: pa.Table  # SCHEMA and `key`, which is unique
    measures: dict[str, np.ndarray]  # numbers by name, each (N,) float64, NaN where there is none
    files: tuple[ShardFile, ...]
    frame_at: dict[str, int]  # position of each frame in the table
    shown: ShownFiles  # all that should have been read
    problems: dict[str, str]  # by path


def read_sample_rows(
    root: Path,
    progress: Callable[[int, int], None] | None = None,
    earlier: SampleRows | None = None,
) -> SampleRows:
    """Read the scalar columns of what is committed and current.

    `progress` receives (finished files, number of files). Files of `earlier` are not read again;
    if nothing changed since, it is returned. Raises PlanMismatch for a dataset of another schema
    version.
    """
    shown = shown_files(root)
    if earlier is not None and earlier.shown == shown:
        return earlier
    known = {} if earlier is None else _by_file(earlier)
    tables, kept, problems = [], list[ShardFile](), dict(shown.problems)
    for number, one in enumerate(shown.files):
        try:
            read = known.get(one)
            if read is None:
                read = _READERS[one.kind](root, one.table, one.file)
            tables.append(_numbered(read, len(kept)))
            kept.append(one.file)
        except (CorruptShard, UnreadableFile) as error:
            problems[one.file.path] = str(error)
        if progress is not None:
            progress(number + 1, len(shown.files))
    return sample_rows(tables, kept, shown, problems)


def _by_file(earlier: SampleRows) -> dict[ShownFile, pa.Table]:
    """Rows of each file that was read."""
    table = earlier.table.select(SCHEMA.names)
    counts = np.bincount(table.column("file").to_numpy(), minlength=len(earlier.files))
    starts = np.cumsum(counts) - counts
    of_path = {file.path: n for n, file in enumerate(earlier.files)}
    return {
        one: table.slice(starts[n], counts[n])
        for one in earlier.shown.files
        if (n := of_path.get(one.file.path)) is not None
    }


def _numbered(table: pa.Table, number: int) -> pa.Table:
    """Rows of a file with its number."""
    place = SCHEMA.get_field_index("file")
    numbers = pa.array(np.full(table.num_rows, number, np.int32))
    return table.set_column(place, SCHEMA.field(place), numbers)


def sample_rows(
    tables: Sequence[pa.Table],
    files: Sequence[ShardFile],
    shown: ShownFiles,
    problems: dict[str, str],
) -> SampleRows:
    """Join the tables of files; name each sample, and take the numbers out of their columns."""
    table = pa.concat_tables([SCHEMA.empty_table(), *tables]).combine_chunks()
    names = table.column("sample_id").to_pylist()
    kinds = table.column("kind").to_pylist()
    return SampleRows(
        table=table.append_column("key", pa.array(_unique(names), pa.string())),
        measures=_measures(table),
        files=tuple(files),
        frame_at={name: n for n, name in enumerate(names) if kinds[n] == FRAME},
        shown=shown,
        problems=problems,
    )


def _variants(root: Path, table: str, file: ShardFile) -> pa.Table:
    found = read_columns(root, file, ("sample_id", "frame_id", *ORIGIN_COLUMNS, *SCALARS))
    return _table(found, kind=VARIANT, of_table=table)


def _frames(root: Path, table: str, file: ShardFile) -> pa.Table:
    found = read_columns(root, file, ("frame_id", *ORIGIN_COLUMNS, "width", "height"))
    found = found.append_column("sample_id", found.column("frame_id"))
    return _table(found, kind=FRAME, of_table=table)


def _rejected(root: Path, table: str, file: ShardFile) -> pa.Table:
    """Rows of quarantine, with the columns of the variants that gates rejected."""
    names = ("sample_id", "frame_id", *ORIGIN_COLUMNS, "reason", "message", "codes", "variant")
    rows = read_columns(root, file, names).to_pylist()
    for row in rows:
        row["kind"] = REJECTED if row["reason"] == Reason.GATE_REJECTED else FAILED
        row["codes"] = row["codes"] or [row.pop("reason")]
        variant = json_object(row.pop("variant"))
        row |= {name: variant.get(name) for name in SCALARS}
    known = [field for field in SCHEMA if field.name not in ("of_table", "file", "row")]
    table_of = pa.Table.from_pylist(rows, schema=pa.schema(known))
    return _table(table_of, of_table=table)


_READERS = {VARIANT: _variants, REJECTED: _rejected, FRAME: _frames}


def _table(found: pa.Table, **constants: object) -> pa.Table:
    """Table of SCHEMA from columns that were read; the others are constant or null."""
    count, columns = found.num_rows, []
    for field in SCHEMA:
        if field.name == "row":
            columns.append(pa.array(np.arange(count, dtype=np.int32)))
        elif field.name in constants:
            columns.append(pa.array([constants[field.name]] * count, field.type))
        elif field.name in found.column_names:
            columns.append(found.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.table(columns, schema=SCHEMA)


def _unique(names: Sequence[str]) -> list[str]:
    """Sample ids, with a number added to each that occurred before."""
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return keys


def _measures(table: pa.Table) -> dict[str, np.ndarray]:
    """Numbers of the rows by name: severity, physical values, scores of gates ("gate.score")."""
    found = {name: table.column(name).cast(pa.float64()) for name in NUMBERS}
    physical = table.column("physical").combine_chunks()
    for name in PHYSICAL.names:
        found[name] = pa.chunked_array([physical.field(name).cast(pa.float64())])
    arrays = {
        name: np.nan_to_num(
            column.to_numpy(zero_copy_only=False).astype(np.float64), posinf=np.nan, nan=np.nan
        )
        for name, column in found.items()
    }
    arrays |= _scores(table.column("gate_scores").to_pylist())
    return {name: values for name, values in arrays.items() if not np.isnan(values).all()}


def _scores(texts: Sequence[str | None]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for number, text in enumerate(texts):
        for name, value in flat_scores(json_object(text)).items():
            if name not in found and len(found) < MAX_SCORES:
                found[name] = np.full(len(texts), np.nan)
            if name in found:
                found[name][number] = value
    return dict(sorted(found.items()))


def flat_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Scores by "gate.score"; what is not a finite number is left out."""
    return {
        f"{gate}.{name}": float(value)
        for gate, values in scores.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if isinstance(value, int | float) and abs(value) < 1e300
    }


def json_object(text: str | None) -> dict[str, Any]:
    """Object in a column of JSON; empty for null, and for anything else."""
    value = _json(text)
    return value if isinstance(value, dict) else {}


def json_list(text: str | None) -> list[Any]:
    """List in a column of JSON; empty for null, and for anything else."""
    value = _json(text)
    return value if isinstance(value, list) else []


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
