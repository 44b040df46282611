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
from nightrain.datasets.shards.manifest import FRAMES, ROW_BY_ROW, Entry, Manifest, last_attempts
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import VARIANTS
from nightrain.datasets.shards.schema import ORIGIN_COLUMNS, PHYSICAL
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.current_entries import current_tables, readable_entries

VARIANT, REJECTED, FAILED, FRAME = "variant", "rejected", "failed", "frame"
KINDS = (VARIANT, REJECTED, FAILED, FRAME)
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
    attached: dict[tuple[str, str], ShardFile]  # by table of labels or maps, and path of the frames
    problems: dict[str, str]  # by path


def read_sample_rows(root: Path, progress: Callable[[int, int], None] | None = None) -> SampleRows:
    """Read the scalar columns of what is committed and current.

    `progress` receives (finished files, number of files). Raises PlanMismatch for a dataset of
    another schema version.
    """
    manifest, problems = Manifest(root), dict[str, str]()
    entries = list(readable_entries(manifest, problems))
    problems |= dict(lost_files(root, entries))
    files = [one for one in _files(root, entries, problems) if one[2].path not in problems]
    tables, kept = [], list[ShardFile]()
    for number, (kind, table, file) in enumerate(files):
        try:
            tables.append(_READERS[kind](root, table, file, len(kept)))
            kept.append(file)
        except (CorruptShard, UnreadableFile) as error:
            problems[file.path] = str(error)
        if progress is not None:
            progress(number + 1, len(files))
    return sample_rows(tables, kept, _attached(entries), problems)


def sample_rows(
    tables: Sequence[pa.Table],
    files: Sequence[ShardFile],
    attached: dict[tuple[str, str], ShardFile],
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
        attached=attached,
        problems=problems,
    )


def _files(
    root: Path, entries: Sequence[Entry], problems: dict[str, str]
) -> list[tuple[str, str, ShardFile]]:
    """Kind, table and file: variants that are not superseded, what was rejected, frames."""
    in_order = {
        table: found
        for table, found in current_tables(root, entries, problems).items()
        if table == FRAMES or table.startswith(VARIANTS)
    }
    variants = [table for table in in_order if table != FRAMES]
    return [
        *((VARIANT, table, entry.rows) for table in variants for entry in in_order[table]),
        *(
            (REJECTED, table, entry.quarantine)
            for table, found in in_order.items()
            for entry in last_attempts(found)
            if entry.quarantine is not None
        ),
        *((FRAME, FRAMES, entry.rows) for entry in in_order.get(FRAMES, ())),
    ]


def _attached(entries: Sequence[Entry]) -> dict[tuple[str, str], ShardFile]:
    """Labels and control maps of frames files, row by row; those of other frames are left out."""
    frames = {entry.shard.stem: entry.rows for entry in entries if entry.shard.table == FRAMES}
    found = {}
    for entry in entries:
        of = frames.get(entry.shard.stem)
        is_attached = entry.shard.table.split("/")[0] in ROW_BY_ROW
        if is_attached and of is not None and entry.rows.keys_sha256 == of.keys_sha256:
            found[entry.shard.table, of.path] = entry.rows
    return found


def _variants(root: Path, table: str, file: ShardFile, number: int) -> pa.Table:
    found = read_columns(root, file, ("sample_id", "frame_id", *ORIGIN_COLUMNS, *SCALARS))
    return _table(found, kind=VARIANT, of_table=table, file=number)


def _frames(root: Path, table: str, file: ShardFile, number: int) -> pa.Table:
    found = read_columns(root, file, ("frame_id", *ORIGIN_COLUMNS, "width", "height"))
    found = found.append_column("sample_id", found.column("frame_id"))
    return _table(found, kind=FRAME, of_table=table, file=number)


def _rejected(root: Path, table: str, file: ShardFile, number: int) -> pa.Table:
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
    return _table(table_of, of_table=table, file=number)


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
