"""Settled facts: the first writer decides, everybody else finds it, damage is seen."""

import json
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, Refused
from nightrain.datasets.shards.manifest import Catalog
from nightrain.datasets.shards.pinned import settle, settled
from nightrain.datasets.shards.verify import verify

NAME = "variants/r-1a2b3c4d"


def test_the_first_writer_decides(tmp_path: Path) -> None:
    assert settled(tmp_path, NAME) is None
    assert settle(tmp_path, NAME, {"batch_size": "8"}) == {"batch_size": "8"}
    assert settle(tmp_path, NAME, {"batch_size": "4"}) == {"batch_size": "8"}
    assert settled(tmp_path, NAME) == {"batch_size": "8"}
    assert settled(tmp_path, "variants/other-1a2b3c4d") is None


def test_a_record_is_no_table_and_no_leftover(dataset: Path) -> None:
    tables = Catalog(dataset).tables()
    settle(dataset, NAME, {"batch_size": "8"})
    catalog = Catalog(dataset)
    assert catalog.tables() == tables and catalog.tables("variants") == []
    assert catalog.sweep() == [] and catalog.orphans() == [] and verify(dataset).accepted
    assert settled(dataset, NAME) == {"batch_size": "8"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"8"', '"9"'),
        lambda text: text[:20],
        lambda text: text.replace('"8"', "8"),
        lambda text: json.dumps({"settled": [], "sha256": ""}),
        lambda text: "",
    ],
)
def test_a_damaged_record_is_found(dataset: Path, damage) -> None:  # type: ignore[no-untyped-def]
    settle(dataset, NAME, {"batch_size": "8"})
    path = dataset / "_manifest" / f"{NAME}.settled"
    path.write_text(damage(path.read_text()))
    with pytest.raises(CorruptShard, match="settled"):
        settled(dataset, NAME)
    with pytest.raises(CorruptShard):
        settle(dataset, NAME, {"batch_size": "8"})
    assert [p.path for p in verify(dataset).problems] == [f"_manifest/{NAME}.settled"]


def test_a_record_of_another_name_is_no_record_of_this_one(tmp_path: Path) -> None:
    settle(tmp_path, NAME, {"batch_size": "8"})
    path = tmp_path / "_manifest" / f"{NAME}.settled"
    path.rename(path.with_name("other.settled"))
    with pytest.raises(CorruptShard, match="belongs elsewhere"):
        settled(tmp_path, "variants/other")


@pytest.mark.parametrize("name", ["../out", "/etc/x", "variants/../../x", ""])
def test_a_name_stays_in_the_manifest(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        settle(tmp_path, name, {})
