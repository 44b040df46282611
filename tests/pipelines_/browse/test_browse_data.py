"""Data of the page: filters, pages, charts and details say what the rows say."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.browse.charts import histogram
from nightrain.pipelines.browse.sample_rows import _unique, flat_scores, json_object
from nightrain.pipelines.inspect.sql import run_sql
from support.browsing import NUM_FRAMES
from support.synthetic import all_rows


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    return get(client, "/api/samples", limit=500, **query)["items"]


def sql(judged: Path, query: str) -> list[tuple[Any, ...]]:
    return run_sql(judged, query, 1000).rows


def test_all_kinds_are_shown_and_superseded_variants_are_not(
    judged: Path, client: TestClient
) -> None:
    found = {kind: {i["key"] for i in shown(client, kind=kind)} for kind in ("variant", "frame")}
    assert found["variant"] == {k for (k,) in sql(judged, "select sample_id from variants")}
    assert found["frame"] == {k for (k,) in sql(judged, "select frame_id from frames")}
    rejected = {i["key"] for i in shown(client, kind="rejected")}
    assert rejected == {k for (k,) in sql(judged, "select sample_id from quarantine")}
    assert len(rejected) == 8 and len(found["variant"]) == 2 * NUM_FRAMES - 8
    assert len(shown(client)) == 3 * NUM_FRAMES
    assert len(all_rows(judged)) > len(found["variant"])  # the first recipe's are superseded


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"condition": ["night"]}, "condition = 'night'"),
        ({"condition": ["night", "fog"], "engine": "weather"}, "true"),
        ({"between": "severity:0.4:0.7"}, "severity between 0.4 and 0.7"),
        ({"between": ["severity::0.5", "faults.spread:20:"]}, "severity <= 0.5 and "
         "(gate_scores::json->'faults'->>'spread')::double >= 20"),
        ({"scene": "ALERT(1)"}, "scene_id like '%alert(1)%'"),
        ({"text": "img src"}, "true"),
        ({"split": "val"}, "false"),
    ],
)  # fmt: skip
def test_filters_mean_what_sql_says(
    judged: Path, client: TestClient, query: dict[str, Any], where: str
) -> None:
    expected = {k for (k,) in sql(judged, f"select sample_id from variants where {where}")}
    found = {item["key"] for item in shown(client, kind="variant", **query)}
    assert found == expected
    assert get(client, "/api/facets", kind="variant", **query)["total"] == len(expected)


def test_reason_codes_and_facets_count_what_they_select(client: TestClient) -> None:
    facets = get(client, "/api/facets", condition="fog")["facets"]
    assert dict(facets["kind"]).keys() == {"variant", "rejected"}
    assert dict(facets["condition"]).keys() == {"clear", "night", "fog"}  # all but its own
    codes = dict(facets["code"])
    assert "faults.flat" in codes
    for code, count in codes.items():
        items = shown(client, condition="fog", code=code)
        assert len(items) == count and all(code in item["codes"] for item in items)
    by_kind = get(client, "/api/facets")["facets"]
    for facet, values in by_kind.items():
        for value, count in values:
            assert len(shown(client, **{facet: value})) == count


def test_pages_hold_every_sample_once_in_the_order_asked_for(client: TestClient) -> None:
    query = {"sort": "faults.spread", "descending": "true", "limit": 7}
    items = [
        item
        for offset in range(0, 3 * NUM_FRAMES, 7)
        for item in get(client, "/api/samples", offset=offset, **query)["items"]
    ]
    keys = [item["key"] for item in items]
    assert len(set(keys)) == len(keys) == 3 * NUM_FRAMES
    scores = [get(client, f"/api/samples/{key}")["scores"].get("faults.spread") for key in keys]
    known = [score for score in scores if score is not None]
    assert len(known) == 2 * NUM_FRAMES and known == sorted(known, reverse=True)
    assert scores[len(known) :] == [None] * NUM_FRAMES  # frames have none, and are last
    place = get(client, f"/api/samples/{keys[11]}/position", sort=query["sort"], descending="true")
    assert place == {"position": 11}
    by_frame = shown(client, sort="frame")
    assert [by_frame[n]["frame_id"] for n in (0, 1, 2)] == [by_frame[0]["frame_id"]] * 3
    assert get(client, f"/api/samples/{keys[0]}/position", split="val") == {"position": -1}


@pytest.mark.parametrize("kind", ["variant", "rejected", "frame"])
def test_details_are_the_row(judged: Path, client: TestClient, kind: str) -> None:
    key = shown(client, kind=kind)[0]["key"]
    found = get(client, f"/api/samples/{key}")
    fields = dict(map(tuple, found["fields"]))
    name = "frame_id" if kind == "frame" else "sample_id"
    row = stored(judged, kind)[key]
    assert fields[name] == key and fields["scene_id"] == row["scene_id"] == "<img src=x " + (
        "onerror=alert(0)>"
    )
    assert {"image", "confidence", "exact_depth", "gate_scores"}.isdisjoint(fields)
    source = json.loads(row["variant"]) if kind == "rejected" else row
    assert found["scores"] == flat_scores(json.loads(source.get("gate_scores") or "{}"))
    if kind != "frame":  # JavaScript would round a seed
        assert (fields.get("seed") or fields["variant.seed"]) == str(source["seed"])
    assert found["problems"] == [] and len(found["of_frame"]) == 3
    names = [one["name"] for one in found["pictures"]]
    own = [] if kind == "frame" else ["image"]
    assert names[: len(own) + 3] == [*own, "clear", "exact-depth", "lidar-depth"]
    assert ("confidence" in names) == (kind != "frame")
    for one in names:
        data = client.get(f"/picture/{key}/{one}").content
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    if own:
        assert client.get(f"/picture/{key}/image").content == row["image"]["bytes"]


def stored(root: Path, kind: str) -> dict[str, dict[str, Any]]:
    """Rows of a kind by key."""
    if kind != "rejected":
        return all_rows(root, "frames" if kind == "frame" else "variants")
    manifest = Manifest(root)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    files = [entry.quarantine for entry in entries if entry.quarantine is not None]
    return {row["sample_id"]: row for file in files for row in manifest.reader(file).rows()}


def test_thumbnails_are_small_jpegs(client: TestClient) -> None:
    key = shown(client)[0]["key"]
    answer = client.get(f"/thumbnail/{key}")
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape[:2] == (200, 320)  # 64 x 40 pixels, enlarged
    assert answer.headers["content-type"] == "image/jpeg"


def test_charts_add_up(judged: Path, client: TestClient) -> None:
    found = get(client, "/api/charts", kind=["variant", "rejected"])
    bars = {bar["name"]: bar["counts"] for bar in found["bars"]}
    assert found["total"] == 2 * NUM_FRAMES
    assert sum(n for of in bars["condition"].values() for n in of.values()) == 2 * NUM_FRAMES
    assert sum(of["rejected"] for of in bars["code"].values()) >= 8
    spread = next(one for one in found["histograms"] if one["name"] == "faults.spread")
    assert sum(spread["groups"]["rejected"]) == 8
    assert sum(spread["groups"]["variant"]) == 2 * NUM_FRAMES - 8
    luma = get(client, "/api/luma", kind="frame")
    assert luma["sampled"] == NUM_FRAMES and luma["unreadable"] == 0
    (group,) = luma["histogram"]["groups"].values()
    values = [
        cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        for row in all_rows(judged, "frames").values()
    ]
    lumas = [image.reshape(-1, 3).mean(0) @ [0.2126, 0.7152, 0.0722] for image in values]
    middle = [(n + 0.5) * 255 / 16 for n, count in enumerate(group) for _ in range(count)]
    assert np.abs(np.sort(lumas) - middle).max() <= 255 / 16


def test_a_histogram_counts_every_known_value_once() -> None:
    values = np.array([0.0, 0.1, 0.5, 1.0, np.nan])
    found = histogram("x", values, np.array(["a", "b", "a", "a", "a"]), 4)
    assert found is not None and (found.lowest, found.highest) == (0.0, 1.0)
    assert found.groups == {"a": [1, 0, 1, 1], "b": [1, 0, 0, 0]}
    assert histogram("x", np.array([np.nan]), np.array(["a"]), 4) is None


def test_texts_of_json_columns_may_be_anything() -> None:
    assert flat_scores({"a": {"b": 1, "c": "2", "d": True and 0.5}, "e": 3}) == {
        "a.b": 1.0,
        "a.d": 0.5,
    }
    assert flat_scores(json_object('{"a": {"b": NaN, "c": 1e999, "d": -2}}')) == {"a.d": -2.0}
    for text in (None, "", "[1]", "{", "[" * 100_000, '"x"'):
        assert json_object(text) == {}


def test_an_id_that_occurs_twice_gets_two_keys() -> None:
    assert _unique(["a", "b", "a", "a"]) == ["a", "b", "a~2", "a~3"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"between": "severity"}, "expected NAME:LOWEST:HIGHEST"),
        ({"between": "severity:low:high"}, "expected NAME:LOWEST:HIGHEST"),
        ({"between": 'x" OR true --:0:1'}, "expected one of"),
        ({"sort": "n; drop table rows"}, "expected one of"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
        ({"text": "x" * 301}, "at most 300 characters"),
        ({"limit": 501}, "less than or equal to 500"),
        ({"offset": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_filters_are_refused(client: TestClient, query: dict[str, Any], words: str) -> None:
    answer = client.get("/api/samples", params=query)
    assert answer.status_code == 422 and words in answer.text


@pytest.mark.parametrize(
    "text", ["O'Neill", 'a"b', "%%", "a\\b", "'; DROP TABLE rows; --", "\x00", "𝛑"]
)
def test_texts_are_values_and_never_sql(client: TestClient, text: str) -> None:
    for name in ("text", "scene", "condition", "code", "verdict", "frame"):
        assert shown(client, **{name: text}) == []
    assert len(shown(client)) == 3 * NUM_FRAMES
