"""Croissant metadata name every column of every configuration, and rows are read by them."""

import dataclasses
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.schema import IMAGE
from nightrain.pipelines.inspect.croissant import SCHEMAS
from nightrain.pipelines.inspect.dataset_card import card_configs, config_names, write_card
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic, recipe
from support.training import add_variants


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames of two splits, with variants of the train frames at night and in fog."""
    root = tmp_path / "data set (1)"
    ingest_synthetic(root, SyntheticSource(num_frames=4))
    add_variants(root, recipe(Condition.NIGHT, Condition.FOG))
    ingest_synthetic(root, SyntheticSource(num_frames=3, split="val", name="other"))
    write_card(root)
    return root


def metadata(root: Path) -> dict[str, Any]:
    return json.loads((root / "croissant.json").read_text())


def configs(root: Path) -> dict[str, list[str]]:
    manifest = Manifest(root)
    tables = {name: manifest.entries(name) for name in manifest.tables()}
    return card_configs(tables, config_names(root, tables))


def expected_fields(columns: pa.Schema) -> Iterator[str]:
    for column in columns:
        if pa.types.is_struct(column.type) and not column.type.equals(IMAGE):
            yield from (f"{column.name}.{member.name}" for member in column.type.fields)
        else:
            yield column.name


def test_every_column_has_a_field_with_words_and_a_place(root: Path) -> None:
    found = metadata(root)
    assert found["@type"] == "sc:Dataset" and found["name"] == "nightrain-other-synthetic"
    assert found["license"] == ["https://www.apache.org/licenses/LICENSE-2.0"]
    files = {one["@id"]: one for one in found["distribution"]}
    records = {one["@id"]: one for one in found["recordSet"]}
    assert records.keys() == configs(root).keys() and len(files) == len(records)
    assert {"variants", "test-night", "test-fog", "frames"} == records.keys()
    for config, tables in configs(root).items():
        columns, record = SCHEMAS[tables[0].split("/")[0]], records[config]
        names = [field["name"] for field in record["field"]]
        assert names == [f"{config}/{name}" for name in expected_fields(columns)]
        for field in record["field"]:
            if members := field.get("subField"):  # a list of structs
                kind = columns.field(field["name"].partition("/")[2]).type.value_type
                assert [m["source"]["transform"]["jsonPath"] for m in members] == kind.names
                assert field["repeated"] and "source" not in field
                continue
            assert field["description"] and field["@id"] == field["name"]
            assert field["source"]["fileSet"]["@id"] in files
            column = field["source"]["extract"]["column"]
            is_struct = pa.types.is_struct(columns.field(column).type)
            assert ("transform" in field["source"]) == is_struct
            assert (
                field.get("repeated", False)
                == pa.types.is_nested(columns.field(column).type) - is_struct
            )
        assert record["key"] == {"@id": f"{config}/{columns.names[0]}"}


def test_files_are_found_by_their_patterns(root: Path) -> None:
    files = {one["@id"]: one["includes"] for one in metadata(root)["distribution"]}
    there = [str(path.relative_to(root)) for path in root.rglob("*.parquet")]
    for config, tables in configs(root).items():
        hits = {n for n in there for p in files[f"files-{config}"] if fnmatchcase(n, p)}
        assert hits == {n for n in there if n.rpartition("/")[0] in tables} != set()
        for name in hits:
            assert pq.read_schema(root / name).names == SCHEMAS[name.split("/")[0]].names


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlcroissant_accepts_it_and_reads_rows(root: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(str(root / "croissant.json"))
    assert not dataset.metadata.issues.errors and not dataset.metadata.issues.warnings
    rows = list(dataset.records("test-night"))
    made = {k: v for k, v in all_rows(root, "variants").items() if v["condition"] == "night"}
    assert {row["test-night/sample_id"].decode() for row in rows} == made.keys()
    for row in rows:
        stored = made[row["test-night/sample_id"].decode()]
        assert row["test-night/image"].size == (stored["width"], stored["height"])
        assert row["test-night/intrinsics"] == stored["intrinsics"]
        assert row["test-night/seed"] == stored["seed"]
    for one in dataset.metadata.record_sets:
        assert len(list(dataset.records(one.uuid)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlcroissant_reads_lists_of_structs(tmp_path: Path) -> None:
    """Objects of a frame, of which one has none."""
    mlcroissant = pytest.importorskip("mlcroissant")
    root = tmp_path / "data"
    ingest_synthetic(root, WithObjects(num_frames=3))
    write_card(root)
    dataset = mlcroissant.Dataset(str(root / "croissant.json"))
    found = [row["frames/objects"] for row in dataset.records("frames")]
    names = [[(o["frames/objects/name"], o["frames/objects/count"]) for o in of] for of in found]
    assert names == [[], [(b"car", 1)], [(b"car", 1), (b"bus", 2)]]


class WithObjects(SyntheticSource):
    """Frames with as many kinds of objects as their number says."""

    def load(self, ref: FrameRef) -> Frame:
        objects = dict([("car", 1), ("bus", 2)][: int(ref.source_id)])
        return dataclasses.replace(super().load(ref), objects=objects)


def test_the_card_has_a_default_and_splits_that_mean_what_they_say(
    root: Path, tmp_path: Path
) -> None:
    from datasets import load_dataset

    cache = str(tmp_path / "cache")
    variants = load_dataset(str(root), cache_dir=cache)
    assert set(variants) == {"train"} and variants["train"].num_rows == 8
    assert set(variants["train"]["condition"]) == {"night", "fog"}
    frames = load_dataset(str(root), "frames", cache_dir=cache)
    assert {name: set(rows["split"]) for name, rows in frames.items()} == {
        "train": {"train"},
        "val": {"val"},
    }
    card = (root / "README.md").read_text()
    assert card.count("default: true") == 1 and "license: apache-2.0" in card
    assert "| `T_world_camera` | camera → world, 4 × 4 row by row, metres |" in card


def test_frames_alone_are_the_default_without_variants(tmp_path: Path) -> None:
    from datasets import load_dataset

    ingest_synthetic(tmp_path / "root", SyntheticSource(num_frames=2))
    write_card(tmp_path / "root")
    found = load_dataset(str(tmp_path / "root"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train"} and found["train"].num_rows == 2


def test_an_empty_dataset_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "root/_manifest").mkdir(parents=True)
    write_card(tmp_path / "root")
    assert metadata(tmp_path / "root")["recordSet"] == []
