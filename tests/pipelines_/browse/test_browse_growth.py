"""What is committed while the page is open is shown, without reading again what was read."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.pipelines.browse import sample_rows
from nightrain.pipelines.browse.live import LiveSamples
from support.browsing import NUM_FRAMES, client_of

LATER = 2_000_000_000 * 10**9  # a time stamp, ns, that no change of a test has


@pytest.fixture
def held_back(copied: Path, tmp_path: Path) -> Callable[[], None]:
    """Takes the last shard of frames out of the manifest; the function commits it."""
    entry = sorted((copied / "_manifest/frames").glob("*.json"))[-1]
    aside = tmp_path / entry.name
    shutil.move(entry, aside)

    def commit() -> None:
        shutil.copy(aside, entry)
        os.utime(entry.parent, ns=(LATER, LATER))

    return commit


def test_new_shards_are_shown_and_permalinks_stay(
    copied: Path, held_back: Callable[[], None]
) -> None:
    client = client_of(copied)
    before = client.get("/api/samples", params={"limit": 500}).json()["items"]
    old = {item["key"] for item in before}
    thumbnails = {key: client.get(f"/thumbnail/{key}").content for key in sorted(old)[:3]}
    held_back()
    assert client.get("/api/total").json()["total"] == 3 * NUM_FRAMES > len(old)
    found = client.get("/api/samples", params={"limit": 500}).json()["items"]
    assert old < {item["key"] for item in found} and len(found) == 3 * NUM_FRAMES
    assert client.get("/api/facets").json()["of"] == 3 * NUM_FRAMES
    for key, thumbnail in thumbnails.items():
        assert client.get(f"/thumbnail/{key}").content == thumbnail
        assert client.get(f"/api/samples/{key}").json()["key"] == key
    new = next(item["key"] for item in found if item["key"] not in old)
    assert client.get(f"/picture/{new}/clear").status_code == 200
    assert client.get(f"/sample/{new}").status_code == 200


def test_only_new_files_are_read(
    copied: Path, held_back: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, read = LiveSamples(copied, check_seconds=0), list[str]()
    known = sample_rows.read_columns

    def counted(root: Path, file: Any, columns: Any) -> Any:
        read.append(file.path)
        return known(root, file, columns)

    monkeypatch.setattr(sample_rows, "read_columns", counted)
    state = live.now()
    assert live.now() is state and not read
    held_back()
    assert len(live.now().samples) > len(state.samples)
    assert read == ["frames/00002.parquet"]
    assert live.now().samples.rows.table.equals(sample_rows.read_sample_rows(copied).table)


def test_the_manifest_is_looked_at_every_few_seconds_alone(
    copied: Path, held_back: Callable[[], None]
) -> None:
    live = LiveSamples(copied, check_seconds=1e6)
    state = live.now()
    held_back()
    assert live.now() is state


def test_a_removed_shard_disappears_and_a_damaged_entry_is_listed(copied: Path) -> None:
    client = client_of(copied)
    total = client.get("/api/total").json()["total"]
    entry = sorted((copied / "_manifest").glob("variants/*/night/*.json"))[-1]
    entry.unlink()
    bad = copied / "_manifest/frames/00009.json"
    bad.write_text(json.dumps({"sha256": "0", "entry": {}}))
    os.utime(bad.parent, ns=(LATER, LATER))
    found = client.get("/api/dataset").json()
    assert found["total"] < total and "_manifest/frames/00009.json" in found["problems"]


def test_a_dataset_that_was_upgraded_keeps_what_was_read(copied: Path) -> None:
    client = client_of(copied)
    entry = copied / "_manifest/frames/00000.json"
    content = json.loads(entry.read_text())["entry"]
    entry.write_bytes(record_bytes("entry", content | {"schema_version": SCHEMA_VERSION - 1}))
    os.utime(entry.parent, ns=(LATER, LATER))
    found = client.get("/api/dataset").json()
    assert (
        found["total"] == 3 * NUM_FRAMES and "nightrain upgrade" in found["problems"]["_manifest"]
    )


def test_folders_of_recipes_have_names(copied: Path) -> None:
    client = client_of(copied)
    recipes = client.get("/api/dataset").json()["recipes"]
    folders = [name for name, _ in client.get("/api/facets").json()["facets"]["recipe"]]
    assert len(folders) == 3 and {name: recipes.get(name) for name in folders} == {
        name: None if name == "none" else ["shown"] for name in folders
    }
