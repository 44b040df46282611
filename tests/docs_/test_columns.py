"""The page on the dataset on disk names every column, with its type, as the schema has it."""

import re

import pyarrow as pa
import pytest

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
    documented = [row[:3] for row in ROW.findall(section)]
    expected = [
        (field.name, words(field.type), "yes" if field.nullable else "no")
        for field in TABLES[table]
    ]
    assert documented == expected


def test_every_physical_field_and_reason_code_is_documented() -> None:
    fields = re.findall(r"^\| `(\w+)` \| (?:[^|]+) \| (?:[^|]+) \|$", PAGE, re.MULTILINE)
    assert set(schema.PHYSICAL.names) == set(fields)
    codes = PAGE.split("Reason codes:")[1].split("## ")[0]
    assert set(re.findall(r"`(\w+)`", codes)) == {str(reason) for reason in Reason}
