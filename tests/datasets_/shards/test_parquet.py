"""Shards: rows survive, layout follows the rows, and no damage reaches a caller."""

import pickle
import random
import shutil
from pathlib import Path

import duckdb
import polars
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.parquet import Row, ShardReader, ShardWriter, describe_shard
from nightrain.datasets.shards.schema import FRAMES, QUARANTINE, VARIANTS, with_metadata
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.plan import plan_generation
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import run
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import TintEngine, recipe, variant_row


def written(folder: Path, num_rows: int, num_bytes: int = 3000) -> ShardReader:
    writer = ShardWriter(folder / "shard.parquet", VARIANTS, {"recipe": "r"})
    for index in range(num_rows):
        writer.add(variant_row(index, num_bytes))
    writer.close()
    return ShardReader(folder, describe_shard(writer.path, "shard.parquet"))


def test_rows_survive_in_order(tmp_path: Path) -> None:
    reader = written(tmp_path, 230)
    assert len(reader) == 230 and [g.num_rows for g in reader.file.row_groups] == [100, 100, 30]
    for index, row in enumerate(reader.rows()):
        expected = variant_row(index)
        assert row["image"] == expected["image"] and row["seed"] == index
        assert row["intrinsics"] == expected["intrinsics"] and row["scene_id"] is None
    assert reader.row(157, ["seed"]) == {"seed": 157}
    with pytest.raises(IndexError, match="230 rows"):
        reader.row(230)


def test_row_groups_are_cut_by_bytes(tmp_path: Path) -> None:
    """Few large rows make a group, but never fewer than 16."""
    reader = written(tmp_path, 40, num_bytes=400_000)
    assert [g.num_rows for g in reader.file.row_groups] == [16, 16, 8]


def test_a_reader_can_be_sent_to_another_process(tmp_path: Path) -> None:
    reader = written(tmp_path, 5)
    reader.row(0)
    assert pickle.loads(pickle.dumps(reader)).row(3) == reader.row(3)


def test_page_checksums_are_written(tmp_path: Path) -> None:
    """With only the page checksums to protect it, a flipped data byte is still found."""
    reader = written(tmp_path, 20)
    path = tmp_path / "shard.parquet"
    data = bytearray(path.read_bytes())
    at = data.index(variant_row(7)["image"]["bytes"]) + 1000
    data[at] ^= 1
    path.write_bytes(data)
    assert (
        pq.ParquetFile(path).read().num_rows == 20
    )  # unchecked, it reads as if nothing were wrong
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.ParquetFile(path, page_checksum_verification=True).read()
    with pytest.raises(CorruptShard, match="digest"):
        reader.row(7)


def test_payload_is_nearly_all_there_is(tmp_path: Path) -> None:
    reader = written(tmp_path, 64, num_bytes=107 * 1024)
    payload = sum(len(row["image"]["bytes"]) for row in reader.rows(["image"]))
    assert reader.file.num_bytes <= 1.01 * payload


@pytest.mark.parametrize("schema", [FRAMES, VARIANTS, QUARANTINE], ids=["frames", "variants", "q"])
def test_every_column_is_named_for_hugging_face(schema: pyarrow.Schema) -> None:
    import json

    features = json.loads(with_metadata(schema, {}).metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    if "image" in schema.names:
        assert features["image"] == {"_type": "Image"}
        assert schema.field("image").nullable  # otherwise Hugging Face shows bytes, not a picture


@pytest.fixture
def generated(dataset: Path) -> Path:
    made = recipe()
    plan = plan_generation(Manifest(dataset), made)
    stop = Stop()
    work = GenerateShard(dataset, made, TintEngine())
    report = run(dataset, plan.shards, work, executor=SerialExecutor(stop), stop=stop)
    assert report.num_rows == 20 and not report.failed
    return dataset


def test_other_readers_open_it(generated: Path) -> None:
    files = sorted(str(p) for p in (generated / "variants").rglob("*.parquet"))
    arrow = pyarrow.dataset.dataset(files).to_table(columns=["sample_id", "condition", "image"])
    assert arrow.num_rows == 20 and b"huggingface" in pq.read_schema(files[0]).metadata
    query = "select condition, count(*), avg(severity), min(octet_length(image.bytes)) from "
    counts = duckdb.sql(f"{query} read_parquet({files}) group by 1 order by 1").fetchall()
    assert [(c, n) for c, n, *_ in counts] == [("fog", 10), ("night", 10)]
    assert all(0.2 <= severity <= 0.8 and size > 100 for _, _, severity, size in counts)
    frame = polars.read_parquet(files, columns=["sample_id", "physical", "image"])
    assert frame.height == 20 and frame["physical"].struct.field("visibility_m").min() > 0
    frames = sorted(str(p) for p in (generated / "frames").rglob("*.parquet"))
    assert polars.read_parquet(frames).height == 10
    joined = f"from read_parquet({files}) v join read_parquet({frames}) f using (frame_id)"
    assert duckdb.sql(f"select count(*) {joined}").fetchall() == [(20,)]


@pytest.mark.parametrize("num_trials", [40, pytest.param(200, marks=pytest.mark.campaign)])
def test_damaged_shards_are_all_found(generated: Path, tmp_path: Path, num_trials: int) -> None:
    """Bit flips anywhere in the file, truncations, and files of another shard."""
    manifest, rng = Manifest(generated), random.Random(0)
    files = [e.rows for table in manifest.tables() for e in manifest.entries(table)]
    for trial in range(num_trials):
        file = rng.choice(files)
        path, copy = generated / file.path, tmp_path / "good"
        shutil.copy(path, copy)
        data = bytearray(copy.read_bytes())
        if trial % 4 == 0:
            del data[rng.randrange(len(data)) :]
        elif trial % 4 == 1:
            other = rng.choice([f for f in files if f.path != file.path])
            data = bytearray((generated / other.path).read_bytes())
        else:
            bit = rng.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert read_until_damage(manifest.reader(file)) == [], f"trial {trial} in {file.path}"
        assert not verify(generated).accepted
        shutil.copy(copy, path)
    assert verify(generated).accepted


def read_until_damage(reader: ShardReader) -> list[Row]:
    rows = []
    try:
        rows.extend(reader.rows())
    except CorruptShard:
        return rows
    return rows


def test_in_a_large_shard_no_damaged_row_is_given(tmp_path: Path) -> None:
    """Row groups before the damage are given and right; the damaged one is not."""
    reader = written(tmp_path, 250)
    path = tmp_path / "shard.parquet"
    data = bytearray(path.read_bytes())
    data[reader.file.row_groups[1].offset + 5000] ^= 1
    path.write_bytes(data)
    assert read_until_damage(ShardReader(tmp_path, reader.file)) == []
    large = ShardReader(tmp_path, reader.file, verified_at_once_bytes=0)
    given = read_until_damage(large)
    assert [row["seed"] for row in given] == list(range(100))


def test_a_changed_manifest_entry_is_found(generated: Path) -> None:
    path = next((generated / "_manifest" / "frames").glob("*.json"))
    good = path.read_text()
    path.write_text(good.replace('"num_rows": 4', '"num_rows": 3'))
    report = verify(generated)
    assert not report.accepted and "changed" in report.problems[0].message
    path.write_text(good)
    path.rename(path.with_name("00007.json"))  # an entry that names another shard
    assert not verify(generated).accepted


def test_conditions_come_back_as_conditions(generated: Path) -> None:
    for table in Manifest(generated).tables("variants"):
        condition = Condition(table.rpartition("/")[2])
        for entry in Manifest(generated).entries(table):
            rows = list(Manifest(generated).reader(entry.rows).rows(["condition"]))
            assert {row["condition"] for row in rows} == {str(condition)}


def test_a_scan_parses_no_footer_that_was_changed(generated: Path) -> None:
    """Flip a bit of every byte of the footer and the page index: the digest finds each."""
    manifest = Manifest(generated)
    (entry, *_) = manifest.entries(manifest.tables("variants")[0])
    path = generated / entry.rows.path
    data = path.read_bytes()
    expected = manifest.reader(entry.rows).scan(["sample_id"]).num_rows
    assert expected == entry.rows.num_rows
    last = entry.rows.row_groups[-1]
    for position in range(last.offset + last.num_bytes, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(CorruptShard, match="footer"):
            manifest.reader(entry.rows).scan(["sample_id"])
    path.unlink()
    with pytest.raises(CorruptShard, match="missing"):
        manifest.reader(entry.rows).scan(["sample_id"])
