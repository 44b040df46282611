"""Pinned settings: the first writer decides, all others use its settings, damage is detected."""

import json
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.datasets.shards.verify import verify

NAME = "variants/r-1a2b3c4d"


def test_the_first_writer_decides(tmp_path: Path) -> None:
    assert pinned(tmp_path, NAME) is None
    assert pin(tmp_path, NAME, {"batch_size": "8"}) == {"batch_size": "8"}
    assert pin(tmp_path, NAME, {"batch_size": "4"}) == {"batch_size": "8"}
    assert pinned(tmp_path, NAME) == {"batch_size": "8"}
    assert pinned(tmp_path, "variants/other-1a2b3c4d") is None


def test_a_record_is_no_table_and_no_leftover(dataset: Path) -> None:
    tables = Manifest(dataset).tables()
    pin(dataset, NAME, {"batch_size": "8"})
    manifest = Manifest(dataset)
    assert manifest.tables() == tables and manifest.tables("variants") == []
    assert manifest.sweep() == [] and manifest.orphans() == [] and verify(dataset).accepted
    assert pinned(dataset, NAME) == {"batch_size": "8"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"8"', '"9"'),
        lambda text: text[:20],
        lambda text: text.replace('"8"', "8"),
        lambda text: json.dumps({"pinned": [], "sha256": ""}),
        lambda text: "",
    ],
)
def test_a_damaged_record_is_found(dataset: Path, damage) -> None:  # type: ignore[no-untyped-def]
    pin(dataset, NAME, {"batch_size": "8"})
    path = dataset / "_manifest" / f"{NAME}.pinned"
    path.write_text(damage(path.read_text()))
    with pytest.raises(CorruptShard, match="pinned"):
        pinned(dataset, NAME)
    with pytest.raises(CorruptShard):
        pin(dataset, NAME, {"batch_size": "8"})
    assert [p.path for p in verify(dataset).problems] == [f"_manifest/{NAME}.pinned"]


def test_a_record_of_another_name_is_no_record_of_this_one(tmp_path: Path) -> None:
    pin(tmp_path, NAME, {"batch_size": "8"})
    path = tmp_path / "_manifest" / f"{NAME}.pinned"
    path.rename(path.with_name("other.pinned"))
    with pytest.raises(CorruptShard, match="belongs to another path"):
        pinned(tmp_path, "variants/other")


@pytest.mark.parametrize("name", ["../out", "/etc/x", "variants/../../x", ""])
def test_a_name_stays_in_the_manifest(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        pin(tmp_path, name, {})
