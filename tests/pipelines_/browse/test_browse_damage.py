"""Damage: what cannot be read is named, and the rest of the dataset is shown."""

import shutil
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from nightrain.datasets.shards.manifest import FRAMES, Manifest
from support.browsing import NUM_FRAMES, client_of, entry_paths


def problems(client: TestClient) -> dict[str, str]:
    return client.get("/api/dataset").json()["problems"]


def items(client: TestClient, **query: str) -> list[dict[str, Any]]:
    return client.get("/api/samples", params={"limit": "500", **query}).json()["items"]


def test_a_shard_that_fails_its_digest_shows_no_picture_and_says_why(copied: Path) -> None:
    manifest = Manifest(copied)
    entry = next(e for e in manifest.entries(FRAMES) if e.rows.num_rows == 4)
    path, image = copied / entry.rows.path, None
    image = next(manifest.reader(entry.rows).rows(("image",)))["image"]["bytes"]
    data = bytearray(path.read_bytes())
    data[data.index(image) + len(image) // 2] ^= (
        1  # in a picture, so that keys and footer are whole
    )
    path.write_bytes(data)
    client = client_of(copied)
    assert problems(client) == {} and len(items(client)) == 3 * NUM_FRAMES
    damaged = [one for one in items(client, kind="frame")][:4]
    for one in damaged:
        answer = client.get(f"/thumbnail/{one['key']}")
        assert answer.status_code == 500 and "another digest" in answer.json()["detail"]
    assert client.get(f"/thumbnail/{items(client, kind='frame')[-1]['key']}").status_code == 200
    variant = next(v for v in items(client, kind="variant") if v["frame_id"] == damaged[0]["key"])
    found = client.get(f"/api/samples/{variant['key']}").json()
    assert [one["name"] for one in found["pictures"]] == ["image", "confidence"]
    assert len(found["problems"]) == 1 and "another digest" in found["problems"][0]
    assert client.get("/api/luma?kind=frame").json()["sampled"] < NUM_FRAMES


def test_missing_cut_and_changed_files_are_left_out(copied: Path) -> None:
    first, second, third = entry_paths(copied, "variants/")
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    changed = bytearray(third.read_bytes())
    changed[-20] ^= 1  # the footer
    third.write_bytes(changed)
    client = client_of(copied)
    found = problems(client)
    assert found.keys() == {str(path.relative_to(copied)) for path in (first, second, third)}
    shown = items(client)
    assert 0 < len(shown) < 3 * NUM_FRAMES and {one["kind"] for one in shown} >= {"frame"}
    assert client.get(f"/thumbnail/{shown[0]['key']}").status_code == 200


def test_a_damaged_entry_is_named(copied: Path) -> None:
    entry = sorted((copied / "_manifest" / "frames").glob("*.json"))[0]
    entry.write_text("{}")
    client = client_of(copied)
    assert problems(client).keys() == {str(entry.relative_to(copied))}
    assert len(items(client, kind="frame")) == NUM_FRAMES - 4
    orphan = next(v for v in items(client) if v["kind"] == "variant")
    found = client.get(f"/api/samples/{orphan['key']}").json()  # its frame is not known
    assert next(one["name"] for one in found["pictures"]) == "image"


def test_half_committed_shards_are_not_shown(copied: Path) -> None:
    """A data file without its entry, as a killed run leaves it."""
    entry = sorted((copied / "_manifest" / "frames").glob("*.json"))[0]
    entry.unlink()
    client = client_of(copied)
    assert problems(client) == {} and len(items(client, kind="frame")) == NUM_FRAMES - 4


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "_manifest").mkdir()
    client = client_of(tmp_path)
    assert client.get("/").status_code == 200
    assert client.get("/api/dataset").json()["total"] == 0 and items(client) == []
    assert client.get("/api/facets").json()["total"] == 0
    assert client.get("/api/charts").json()["histograms"] == []
    assert client.get("/api/luma").json() == {"sampled": 0, "unreadable": 0, "histogram": None}


def test_files_that_vanish_while_the_page_is_open(copied: Path) -> None:
    client = client_of(copied)
    key = items(client, kind="variant")[0]["key"]
    shutil.rmtree(copied / "variants")
    answer = client.get(f"/thumbnail/{key}")
    assert answer.status_code == 500 and "missing" in answer.json()["detail"]
    found = client.get(f"/api/samples/{key}").json()
    assert found["problems"] and next(one["name"] for one in found["pictures"]) == "clear"
