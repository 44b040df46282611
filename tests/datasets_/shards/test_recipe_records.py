"""Recipe records: which tables a recipe's name stands for, and which ones are superseded."""

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import pinned_paths
from nightrain.datasets.shards.recipe_records import (
    Superseded,
    recipe_records,
    record_recipe,
    select_tables,
    superseded_tables,
)
from nightrain.datasets.shards.verify import verify

NIGHT, DARKER = "variants/weather-0a1b2c3d/night", "variants/weather-0a1b9999/night"
RAIN, FOG = "variants/weather-11111111/rain", "variants/haze-22222222/fog"


def commit(root: Path, *tables: str) -> Manifest:
    """A dataset whose manifest has an entry of each table; selection reads no entry."""
    for table in tables:
        path = root / "_manifest" / table / "00000.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Manifest(root)


def record(root: Path, *tables: str, name: str = "mine") -> list[Superseded]:
    return record_recipe(root, name, dict.fromkeys(tables, "{}"))


def test_a_name_stands_for_its_current_tables(tmp_path: Path) -> None:
    manifest = commit(tmp_path, NIGHT, DARKER, RAIN, FOG)
    assert record(tmp_path, NIGHT, RAIN) == [] and select_tables(manifest, "mine") == [NIGHT, RAIN]
    assert record(tmp_path, RAIN, NIGHT) == [] and len(pinned_paths(tmp_path)) == 1
    assert record(tmp_path, DARKER, RAIN) == [Superseded(NIGHT, "mine", DARKER)]
    assert select_tables(manifest, "mine") == [DARKER, RAIN]
    assert record(tmp_path, DARKER) == [Superseded(RAIN, "mine", None)]
    assert {s.table for s in superseded_tables(tmp_path)} == {NIGHT, RAIN}
    assert [r.number for r in recipe_records(tmp_path)["mine"]] == [0, 1, 2]


def test_a_recipe_that_returns_to_old_settings_has_the_old_tables_again(tmp_path: Path) -> None:
    record(tmp_path, NIGHT)
    record(tmp_path, DARKER)
    assert record(tmp_path, NIGHT) == [Superseded(DARKER, "mine", NIGHT)]
    assert superseded_tables(tmp_path) == [Superseded(DARKER, "mine", NIGHT)]


def test_a_table_that_another_recipe_uses_is_not_superseded(tmp_path: Path) -> None:
    record(tmp_path, NIGHT)
    record(tmp_path, NIGHT, FOG, name="other")
    assert record(tmp_path, DARKER) == [] == superseded_tables(tmp_path)
    assert [s.table for s in record(tmp_path, FOG, name="other")] == [NIGHT]


@pytest.mark.parametrize("wanted", ["weather-0a1b2c3d", "0a1b2c3d", "0a1b2c", "0a1b2c3d44556677"])
def test_variants_are_found_by_folder_and_by_hash(tmp_path: Path, wanted: str) -> None:
    manifest = commit(tmp_path, NIGHT, DARKER, RAIN)
    record(tmp_path, DARKER, RAIN)
    assert select_tables(manifest, wanted) == [NIGHT]


def test_only_committed_tables_are_selected(tmp_path: Path) -> None:
    manifest = commit(tmp_path, RAIN)
    record(tmp_path, NIGHT, RAIN)
    assert select_tables(manifest, "mine") == [RAIN]


def test_what_is_unknown_or_ambiguous_is_one_sentence(tmp_path: Path) -> None:
    known = "Recipes: mine; folders: weather-0a1b2c3d, weather-0a1b9999"
    manifest = commit(tmp_path, NIGHT, DARKER)
    record(tmp_path, RAIN)  # nothing of it is committed yet
    for wanted in ("mine", "weather", "0a1b", "../frames"):
        with pytest.raises(InvalidRequest, match=f"no variants called '{wanted}'. {known}"):
            select_tables(manifest, wanted)
    commit(tmp_path, "variants/weather-0a1b2c99/night")
    two = "2 sets of variants called '0a1b2c': weather-0a1b2c3d, weather-0a1b2c99"
    with pytest.raises(InvalidRequest, match=two):
        select_tables(manifest, "0a1b2c")
    record(tmp_path, NIGHT, name="weather-0a1b9999")
    with pytest.raises(InvalidRequest, match=r"2 sets .*: recipe weather-0a1b9999, weather-0"):
        select_tables(manifest, "weather-0a1b9999")


def test_processes_that_record_at_once_agree(tmp_path: Path) -> None:
    """Eight threads, four of each of two recipes of one name: each change is recorded once."""
    start = threading.Barrier(8)

    def run(table: str) -> None:
        start.wait()
        record(tmp_path, table, RAIN)

    threads = [threading.Thread(target=run, args=(t,)) for t in (NIGHT, DARKER) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = recipe_records(tmp_path)["mine"]
    assert [r.number for r in records] == list(range(len(records)))
    for before, after in pairwise(records):
        assert before.settings != after.settings


def test_a_damaged_record_is_found(tmp_path: Path) -> None:
    record(tmp_path, NIGHT)
    (path,) = pinned_paths(tmp_path)
    path.write_text(path.read_text().replace("night", "nighs"))
    with pytest.raises(CorruptShard, match=r"recipes/mine/00000.pinned"):
        select_tables(Manifest(tmp_path), "mine")
    assert [p.path for p in verify(tmp_path).problems] == ["_manifest/recipes/mine/00000.pinned"]
