"""The page on the dataset on disk names every column, as the schema and the shards have it."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightrain.datasets.column_descriptions import OF_TABLE, SHARED, describe
from nightrain.datasets.errors import Reason
from nightrain.datasets.shards import schema
from support.paths import ROOT

PAGE = (ROOT / "docs/concepts/dataset_on_disk.md").read_text()
TABLES = {
    "frames": schema.FRAMES,
    "variants": schema.VARIANTS,
    "labels": schema.LABELS,
    "captions": schema.CAPTIONS,
    "controls": schema.CONTROLS,
    "quarantine": schema.QUARANTINE,
}
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (yes|no) \| (\S[^|]+) \|$", re.MULTILINE)


def words(kind: pa.DataType) -> str:
    """How the page names a type."""
    if kind.equals(schema.IMAGE):
        return "image"
    if isinstance(kind, pa.FixedSizeListType):
        return f"list of {kind.list_size} {kind.value_type}"
    if isinstance(kind, pa.ListType):
        return f"list of {kind.value_type}"
    if isinstance(kind, pa.DictionaryType):
        return "name"
    if pa.types.is_struct(kind):
        return "struct"
    return "timestamp" if pa.types.is_timestamp(kind) else str(kind)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_documented_in_order(table: str) -> None:
    section = PAGE.split(f"\n## {table}\n")[1].split("\n## ")[0]
    expected = [
        (
            field.name,
            words(field.type),
            "yes" if field.nullable else "no",
            describe(table, field.name),
        )
        for field in TABLES[table]
    ]
    assert ROW.findall(section) == expected and all(row[3] for row in expected)


def test_no_description_is_of_a_column_that_is_not_there() -> None:
    for table, described in OF_TABLE.items():
        assert set(described) <= set(TABLES[table].names), table
    assert set(SHARED) <= {name for one in TABLES.values() for name in one.names}


def test_shards_say_what_their_columns_hold(generated: Path) -> None:
    for table in ("frames", "variants"):
        paths = list((generated / table).rglob("*.parquet"))
        assert paths
        for field in pq.read_schema(paths[0]):
            assert field.metadata[b"description"].decode() == describe(table, field.name)


def test_every_physical_field_and_reason_code_is_documented() -> None:
    fields = re.findall(r"^\| `(\w+)` \| (?:[^|]+) \| (?:[^|]+) \|$", PAGE, re.MULTILINE)
    assert set(schema.PHYSICAL.names) == set(fields)
    codes = PAGE.split("Reason codes:")[1].split("## ")[0]
    assert set(re.findall(r"`(\w+)`", codes)) == {str(reason) for reason in Reason}
