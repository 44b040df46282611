"""Rows to group: the scalar columns of frames, variants, labels and quarantine, as DuckDB's tables.

    samples       frames and variants: their keys, and what is counted, averaged or summed
    frame_facts   frames: whether they have LiDAR and exact depth
    label_facts   labels: whether they have depth, and their share of confident pixels
    rejected      quarantine of frames and variants, of each shard's last attempt

No picture is read. DuckDB does not check the digests of the manifest; `nightrain verify` does.
"""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.schema import PHYSICAL
from nightrain.pipelines.inspect.current_entries import Problems
from nightrain.pipelines.inspect.groups.files import GroupFiles
from nightrain.pipelines.inspect.groups.keys import GroupKey, key_columns

PHYSICAL_NAMES = tuple(PHYSICAL.names)
LUMA_SCORES = {"highlight_luma": "highlight", "luma_spread": "spread"}  # of the gate `faults`


class Part(NamedTuple):
    """SQL of one kind of rows: the table they go to, their columns, and those made for the keys."""

    table: str
    columns: str
    made: str = ""
    has_keys: bool = True


_FRAME = Part(
    "samples",
    "false AS is_variant, frame_id, width, height, row_bytes, filename, file_row_number",
    "NULL::FLOAT AS severity",
)
_VARIANT = Part(
    "samples",
    "true AS is_variant, frame_id, width, height, row_bytes, filename, file_row_number, "
    "gates IS NOT NULL AS judged, "
    "severity, prompt, seed, gen_seconds, "
    + ", ".join(f"physical.{name} AS {name}" for name in PHYSICAL_NAMES)
    + "".join(
        f", (gate_scores->>'$.faults.{score}')::FLOAT AS {name}"
        for name, score in LUMA_SCORES.items()
    ),
)
_REJECTED = Part(
    "rejected",
    "reason, coalesce(codes, []) AS codes",
    "(variant->>'$.severity')::FLOAT AS severity",
)
_FRAME_FACTS = Part(
    "frame_facts",
    "frame_id, lidar_depth.path IS NOT NULL AS lidar, exact_depth.path IS NOT NULL AS exact",
    has_keys=False,
)
_LABEL_FACTS = Part(
    "label_facts",
    "frame_id, depth.path IS NOT NULL AS labelled, confident_share AS confident",
    has_keys=False,
)
_FLOATS = ", ".join(f"{name} FLOAT" for name in (*PHYSICAL_NAMES, *LUMA_SCORES))
_TABLES = {
    "samples": "is_variant BOOLEAN, frame_id VARCHAR, width INT, height INT, row_bytes DOUBLE, "
    "filename VARCHAR, file_row_number BIGINT, "
    f"judged BOOLEAN, severity FLOAT, prompt VARCHAR, seed BIGINT, gen_seconds FLOAT, {_FLOATS}",
    "rejected": "reason VARCHAR, codes VARCHAR[]",
    "frame_facts": "frame_id VARCHAR, lidar BOOLEAN, exact BOOLEAN",
    "label_facts": "frame_id VARCHAR, labelled BOOLEAN, confident FLOAT",
}


def load_rows(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    files: GroupFiles,
    by: tuple[GroupKey, ...],
    problems: Problems,
) -> None:
    """Create and fill the tables; a file that cannot be read is added to `problems`."""
    connection.register("files", files.facts)
    connection.register("scenes", files.scenes)
    keys = "".join(f"key{number} VARCHAR, " for number in range(len(by)))
    for table, columns in _TABLES.items():
        has_keys = table in ("samples", "rejected")
        connection.execute(f"CREATE TABLE {table} ({keys if has_keys else ''}{columns})")
    for part, found in (
        (_FRAME, files.frames),
        (_FRAME_FACTS, files.frames),
        (_VARIANT, files.variants),
        (_LABEL_FACTS, files.labels),
        (_REJECTED, files.quarantine),
    ):
        there = [file for file in found if file.path not in problems]
        problems |= _fill(connection, root, _insertion(part, by), there)


def _insertion(part: Part, by: tuple[GroupKey, ...]) -> str:
    made = f", {part.made}" if part.made else ""
    options = "filename = true, file_row_number = true"
    rows = f"(SELECT *{made} FROM read_parquet($paths, {options}))"
    if part.has_keys:
        rows += " LEFT JOIN files USING (filename)"
        rows += " LEFT JOIN scenes USING (source_dataset, scene_id)"
    keys = f"{key_columns(by)}, " if part.has_keys else ""
    return f"INSERT INTO {part.table} BY NAME SELECT {keys}{part.columns} FROM {rows}"


def _fill(
    connection: duckdb.DuckDBPyConnection, root: Path, sql: str, files: Sequence[ShardFile]
) -> Problems:
    """Insert the rows of files at once; if that fails, one by one, to find those at fault."""
    if not files or not _problem(connection, root, sql, files):
        return {}
    found = ((file.path, _problem(connection, root, sql, [file])) for file in files)
    return {path: problem for path, problem in found if problem}


def _problem(
    connection: duckdb.DuckDBPyConnection, root: Path, sql: str, files: Sequence[ShardFile]
) -> str:
    """Insert the rows of files, or none and say why: "" if all went well."""
    paths = [glob.escape(str(root.absolute() / file.path)) for file in files]
    expected = sum(file.num_rows for file in files)
    connection.execute("BEGIN")
    try:
        (count,) = connection.execute(sql, {"paths": paths}).fetchall()[0]
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        return f"it cannot be read: {str(error).splitlines()[0]}"
    if count == expected:
        connection.execute("COMMIT")
        return ""
    connection.execute("ROLLBACK")
    return f"it holds {count} rows; the manifest says {expected}"
