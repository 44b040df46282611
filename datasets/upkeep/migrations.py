"""Schema migrations: one step per schema version, from the version before.

Whoever changes a column of schema.py raises SCHEMA_VERSION and adds a step here, so that every
dataset ever written can be upgraded. A step changes the rows of one table; it may find columns that
are as they should be already, because some early versions shared a number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards import schema
from nightrain.datasets.shards.schema import SCHEMA_VERSION

SCHEMAS = {
    "frames": schema.FRAMES,
    "variants": schema.VARIANTS,
    "captions": schema.CAPTIONS,
    "labels": schema.LABELS,
    "controls": schema.CONTROLS,
    "quarantine": schema.QUARANTINE,
}


@dataclass(frozen=True, slots=True)
class Migration:
    """A step from one schema version to the next."""

    version: int  # that it starts from
    summary: str
    change: Callable[[str, pa.Table], pa.Table]  # of a kind of table: "frames", "variants"


def kind_of_table(table: str) -> str:
    """Kind of a table, which decides its columns: "variants" of variants/weather-1a2b3c4d/night."""
    return table.partition("/")[0]


def migrate(table: str, rows: pa.Table, version: int) -> pa.Table:
    """Bring rows of a table from a schema version to today's columns.

    Raises NightrainError if they do not have the columns of that version.
    """
    kind = kind_of_table(table)
    for step in MIGRATIONS:
        if step.version >= version:
            rows = step.change(kind, rows)
    target = SCHEMAS[kind]
    if different := sorted(set(rows.column_names) ^ set(target.names)):
        raise NightrainError(
            f"{table} does not have the columns of schema version {version}: {different[0]} is "
            "missing or unknown. It cannot be upgraded; ingest and generate into another folder."
        )
    current = pa.array([SCHEMA_VERSION] * rows.num_rows, pa.int16())
    index = rows.column_names.index("schema_version")
    return rows.set_column(index, "schema_version", current).select(target.names)


def _add_columns(kind: str, rows: pa.Table) -> pa.Table:
    """Add the nullable columns that came later, as null."""
    target = SCHEMAS[kind]
    for name in ADDED.get(kind, ()):
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, target.field(name).type))
    return rows


def _rename_previous(kind: str, rows: pa.Table) -> pa.Table:
    """Name the columns of the frame before previous_*; they were prev_*."""
    return rows.rename_columns([PREVIOUS.get(name, name) for name in rows.column_names])


_STEREO = ("stereo_id", "stereo_timestamp_us", "stereo_image", "stereo_intrinsics")
ADDED = {
    "frames": (*_STEREO, "T_stereo_camera", "objects"),
    "variants": (
        *("caption", "prompt", "provenance", "num_steps", "control_steps", "controlled"),
        *("seed_number", "gates", "gate_scores", "rejected_seeds", "confidence"),
        "object_confidence",
    ),
    "quarantine": ("codes", "image", "confidence", "variant"),
}
PREVIOUS = {
    "prev_id": "previous_id",
    "prev_timestamp_us": "previous_timestamp_us",
    "prev_image": "previous_image",
    "prev_intrinsics": "previous_intrinsics",
    "T_prev_camera": "T_previous_camera",
}
MIGRATIONS = (
    Migration(1, "adds a frame's stereo partner, and a variant's caption and prompt", _add_columns),
    Migration(2, "names the columns of the frame before previous_*", _rename_previous),
    Migration(3, "adds on how many steps a variant's controls acted", _add_columns),
    Migration(4, "adds the objects that a frame's camera sees", _add_columns),
    Migration(5, "adds scores of gates, and the pictures that gates rejected", _add_columns),
    Migration(6, "adds the confidence of objects in a variant", _add_columns),
)
