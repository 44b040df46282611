"""Confidence per object: vehicles, walls and posts of a drawn street get boxes of their own."""

import json
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.gates.object_confidence import object_confidence
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.inspect.sql import run_sql
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import all_rows

SIZE = (448, 256)  # width, height
VEHICLE = (slice(130, 190), slice(60, 150))  # rows, columns
HIGH_WALL = (slice(60, 140), slice(300, 400))


def street() -> np.ndarray:
    """Depth (256, 448) of a flat road 1.5 m below, a vehicle at 8 m, a wall at 30 m, the sky."""
    rows = np.arange(256, dtype=np.float32)[:, None] + np.zeros((1, 448), np.float32)
    with np.errstate(divide="ignore"):
        depth_m = np.where(rows > 128, 1.5 * 400 / (rows - 128), np.inf).astype(np.float32)
    depth_m[HIGH_WALL] = 30.0
    depth_m[VEHICLE] = 8.0
    return depth_m


def test_things_on_the_road_get_a_box_a_distance_and_their_confidence() -> None:
    confidence = np.full((256, 448), 0.9, np.float32)
    confidence[VEHICLE] = 0.25
    vehicle, wall = object_confidence(confidence, street(), SIZE)
    assert vehicle["depth_m"] == 8.0 and wall["depth_m"] == 30.0
    assert vehicle["confidence"] == pytest.approx(0.25, abs=0.02)
    assert wall["confidence"] == pytest.approx(0.9, abs=0.01)
    for box, (rows, columns) in ((vehicle, VEHICLE), (wall, HIGH_WALL)):
        assert box["left"] == pytest.approx(columns.start, abs=4)
        assert box["left"] + box["width"] == pytest.approx(columns.stop, abs=4)
        assert box["top"] == pytest.approx(rows.start, abs=4)
        assert box["top"] + box["height"] == pytest.approx(rows.stop, abs=14)  # meets the road


def test_sizes_of_confidence_and_depth_do_not_matter() -> None:
    fine = object_confidence(np.ones((256, 448), np.float32), street(), SIZE)
    coarse = object_confidence(np.ones((32, 56), np.float32), street()[::2, ::2], SIZE)
    assert [one["depth_m"] for one in coarse] == [one["depth_m"] for one in fine]
    for one, other in zip(fine, coarse, strict=True):
        assert all(abs(one[side] - other[side]) <= 8 for side in ("left", "top", "width"))


def test_an_empty_road_and_an_empty_sky_have_no_things() -> None:
    road = street()
    road[HIGH_WALL] = road[VEHICLE] = np.inf
    ones = np.ones((64, 112), np.float32)
    assert object_confidence(ones, road, SIZE) == []
    assert object_confidence(ones, np.full((256, 448), np.inf, np.float32), SIZE) == []


def test_at_most_32_things_are_listed() -> None:
    depth_m = np.full((256, 448), np.inf, np.float32)
    for number in range(60):
        row, column = divmod(number, 10)
        depth_m[4 + 40 * row : 28 + 40 * row, 4 + 44 * column : 36 + 44 * column] = 5 + number
    assert len(object_confidence(np.ones((64, 112), np.float32), depth_m, SIZE)) == 32


def test_rows_of_gated_variants_have_them_also_when_rejected(dataset: Path) -> None:
    text = "name: seen\ndepth: exact\nconditions: {fog: {lowest: 0.2, highest: 0.4}}\n"
    gate = "{name: structure, by_condition: {fog: {most_lost: %s, most_novel: 9}}}"
    for most_lost in (1, 0):
        recipe = dataset.parent / f"seen-{most_lost}.yaml"
        recipe.write_text(f"{text}gates: [{gate % most_lost}]\n")
        job = GenerateJob(dataset=dataset, recipe=str(recipe), max_rejected=1.0)
        stop = Stop()
        generate(job, executor=SerialExecutor(stop), stop=stop)
    accepted = [row["object_confidence"] for row in all_rows(dataset).values()]
    assert accepted and all(isinstance(things, list) for things in accepted)
    manifest = Manifest(dataset)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    rejected = [
        json.loads(row["variant"])["object_confidence"]
        for entry in entries
        if entry.quarantine
        for row in manifest.reader(entry.quarantine).rows()
    ]
    assert sorted(map(str, rejected)) == sorted(map(str, accepted))
    found = run_sql(dataset, "select unnest(object_confidence) from variants", 1000)
    assert len(found.rows) == sum(map(len, accepted))
