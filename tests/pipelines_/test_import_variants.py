"""Import of variants: names that fit, bytes that stay, gates that judge, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, resize_image
from nightrain.datasets.io.marks import read_mark
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.import_variants.job import ImportVariantsJob, prepare_import
from nightrain.pipelines.inspect.stats import dataset_stats
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.described_folder import put
from support.marks import unmarked
from support.synthetic import SIZE, SyntheticSource, all_rows, ingest_synthetic

Pictures = dict[str, bytes]  # by frame id


def run(job: GenerateJob) -> RunReport:
    stop = Stop()
    return generate(job, executor=SerialExecutor(stop), stop=stop)


def imported(dataset: Path, folder: Path, **options: Any) -> tuple[RunReport, list[str]]:
    """Import a folder as night; return the report and the notes."""
    values = {"condition": Condition.NIGHT, "name": "mine"} | options
    prepared = prepare_import(ImportVariantsJob(dataset=dataset, folder=folder, **values))
    return run(prepared.job), prepared.notes


@pytest.fixture
def frames(dataset: Path) -> dict[str, dict[str, Any]]:
    return all_rows(dataset, "frames")


@pytest.fixture
def dark(frames: dict[str, dict[str, Any]]) -> Pictures:
    """Frames at half their brightness, as JPEGs of a quality that nothing here uses."""
    return {
        name: encode_jpeg(decode_jpeg(row["image"]["bytes"]) // 2, 83)
        for name, row in frames.items()
    }


def by_frame(dataset: Path) -> Pictures:
    """Committed variants."""
    return {row["frame_id"]: row["image"]["bytes"] for row in all_rows(dataset).values()}


def as_given(dataset: Path) -> Pictures:
    """Committed variants without the marks that they got."""
    return {name: unmarked(data) for name, data in by_frame(dataset).items()}


def quarantined(dataset: Path) -> dict[str, dict[str, Any]]:
    manifest = Manifest(dataset)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    rows = (r for e in entries if e.quarantine for r in manifest.reader(e.quarantine).rows())
    return {row["frame_id"]: row for row in rows}


def png(data: bytes) -> bytes:
    return cv2.imencode(".png", decode_jpeg(data)[..., ::-1])[1].tobytes()


def test_variants_that_were_written_come_back_byte_for_byte(dataset: Path, tmp_path: Path) -> None:
    """Out of the shards, through files and through the shards themselves."""
    recipe = put(tmp_path / "fog.yaml", b"{name: fogs, depth: exact, conditions: {fog: {}}}")
    assert run(GenerateJob(dataset=dataset, recipe=str(recipe))).num_rows == 10
    made = by_frame(dataset)
    for name, data in made.items():
        put(tmp_path / f"files/{name}.jpg", data)
    again = tmp_path / "again"
    ingest_synthetic(again, SyntheticSource(num_frames=10), frames_per_shard=3)
    report, _ = imported(again, tmp_path / "files", condition=Condition.FOG)
    assert report.num_rows == 10 and by_frame(again) == made
    tables = tmp_path / "tables"
    ingest_synthetic(tables, SyntheticSource(num_frames=10))
    report, notes = imported(tables, next((dataset / "variants").glob("*/fog")), name="shards")
    assert report.num_rows == 10 and by_frame(tables) == made
    assert notes == ["10 of 10 pictures are of one of 10 clear frames"]
    assert verify(again).accepted and verify(tables).accepted


def test_rows_say_where_the_picture_is_from(
    dataset: Path, frames: Any, dark: Pictures, tmp_path: Path
) -> None:
    for name, data in dark.items():
        put(tmp_path / f"night/{name}.jpg", data)
    report, _ = imported(dataset, tmp_path / "night")
    rows = list(all_rows(dataset).values())
    assert report.num_rows == len(rows) == 10 and not report.over_limit
    for row in rows:
        assert (row["engine"], row["condition"], row["severity"]) == ("import", "night", None)
        assert row["intrinsics"] == frames[row["frame_id"]]["intrinsics"]
        facts = json.loads(row["provenance"])
        assert facts["picture"] == f"{row['frame_id']}.jpg"
        given = unmarked(row["image"]["bytes"])
        assert facts["picture_sha256"] == hashlib.sha256(given).hexdigest()
        assert read_mark(row["image"]["bytes"]) is not None
    assert replay(dataset, rows[0]["sample_id"]).identical
    (table,) = Manifest(dataset).tables("variants")
    stats = dataset_stats(dataset).tables[table]
    assert stats.num_rows == 10 and stats.severity is None and stats.luminance is not None
    assert imported(dataset, tmp_path / "night")[0].num_already == 3  # nothing to do


@pytest.mark.parametrize(
    "name_of",
    [
        lambda row: f"{row['source_id']}.png",
        lambda row: f"test_latest/images/{row['source_id']}_fake_B.png",
        lambda row: f"{row['source_id']}_fake.png",
        lambda row: f"samples/CAM_FRONT/n015-2018__CAM_FRONT__{10**15 + row['timestamp_us']}.png",
        lambda row: f"a/b/{row['scene_id']}/{row['frame_id']}.PNG",
    ],
    ids=["source", "cyclegan", "test model", "nuscenes", "frame"],
)
def test_pictures_are_found_by_the_names_that_programs_give(
    tmp_path: Path, name_of: Callable[[dict[str, Any]], str]
) -> None:
    class Source(SyntheticSource):
        def ref(self, index: int) -> Any:
            from dataclasses import replace

            ref = super().ref(index)
            return replace(ref, timestamp_us=10**15 + ref.timestamp_us)

    dataset = tmp_path / "dataset"
    ingest_synthetic(dataset, Source(num_frames=3))
    expected = {}
    for name, row in all_rows(dataset, "frames").items():
        given = row | {"timestamp_us": row["timestamp_us"] - 10**15}
        expected[name] = decode_jpeg(row["image"]["bytes"]) // 2
        file = tmp_path / "out" / name_of(given)
        put(file, cv2.imencode(".png", expected[name][..., ::-1])[1].tobytes())
        if "fake_B" in file.name:
            put(file.with_name(file.name.replace("fake_B", "real_A")), b"not read")
    report, notes = imported(dataset, tmp_path / "out")
    assert report.num_rows == 3, (notes, quarantined(dataset))
    for name, data in by_frame(dataset).items():
        difference = np.abs(decode_jpeg(data).astype(int) - expected[name])
        assert difference.mean() < 5  # of the JPEG; another frame differs by 20 and more


def test_a_hugging_face_folder_is_read(dataset: Path, dark: Pictures, tmp_path: Path) -> None:
    names = list(dark)
    images = [{"bytes": data, "path": None} for data in dark.values()]
    table = pa.table({"label": [0] * 10, "image": images, "frame_id": names})
    folder = tmp_path / "hub/data"
    folder.mkdir(parents=True)
    pq.write_table(table.slice(0, 7), folder / "train-00000-of-00002.parquet", row_group_size=3)
    with pa.ipc.new_stream(folder / "data-00001-of-00002.arrow", table.schema) as writer:
        writer.write_table(table.slice(7))
    report, _ = imported(dataset, tmp_path / "hub")
    assert report.num_rows == 10 and as_given(dataset) == dark
    places = {json.loads(r["provenance"])["picture"] for r in all_rows(dataset).values()}
    assert "data/train-00000-of-00002.parquet, row 6" in places


def test_what_does_not_fit_is_named_and_the_rest_is_imported(
    dataset: Path, dark: Pictures, tmp_path: Path
) -> None:
    out, (missing, double, small, broken, link, *good) = tmp_path / "out", dark
    for name in (double, *good):
        put(out / f"{name}.jpg", dark[name])
    put(out / f"again/{double}.png", png(dark[double]))
    put(out / f"{small}.jpg", encode_jpeg(resize_image(decode_jpeg(dark[small]), (32, 20))))
    put(out / f"{broken}.jpg", dark[broken][:200])
    put(out / "nobody.jpg", dark[missing])
    outside = put(tmp_path / "outside.jpg", dark[link])
    (out / f"{link}.jpg").symlink_to(outside)
    report, notes = imported(dataset, out)
    assert as_given(dataset) == {name: dark[name] for name in good}
    assert "5 of 10 rows are in quarantine" in report.over_limit
    found = {name: (row["reason"], row["message"]) for name, row in quarantined(dataset).items()}
    assert found[missing][0] == "missing_file" and found[link][0] == "missing_file"
    assert found[double][0] == "bad_record" and "found 2 pictures of this frame" in found[double][1]
    assert found[small][0] == "size_mismatch" and "Pass `--size 32x20`" in found[small][1]
    assert found[broken][0] == "undecodable_image"
    said = " ".join(notes)
    assert "1 pictures are of no frame: nobody.jpg" in said
    assert "3 of 10 frames have no picture or several" in said
    assert "is a symlink to" in said


def test_another_size_is_kept_or_resized_on_request(
    dataset: Path, dark: Pictures, tmp_path: Path
) -> None:
    half = SIZE[0] // 2, SIZE[1] // 2
    small = {
        name: encode_jpeg(resize_image(decode_jpeg(data), half)) for name, data in dark.items()
    }
    for name, data in small.items():
        put(tmp_path / f"small/{name}.jpg", data)
    imported(dataset, tmp_path / "small", size=half)
    assert as_given(dataset) == small
    row = next(iter(all_rows(dataset).values()))
    assert (row["width"], row["height"], row["intrinsics"][0]) == (*half, 25.0)
    report, _ = imported(dataset, tmp_path / "small", resize=True, severity=0.25, name="large")
    assert report.num_rows == 10
    large = [r for r in all_rows(dataset).values() if r["width"] == SIZE[0]]
    assert len(large) == 10 and {r["severity"] for r in large} == {0.25}


def test_gates_of_a_recipe_judge_the_pictures(
    dataset: Path, dark: Pictures, tmp_path: Path
) -> None:
    bad = list(dark)[3]
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    put(tmp_path / f"out/{bad}.jpg", encode_jpeg(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)))
    gated = put(tmp_path / "gated.yaml", b"{name: g, conditions: {fog: {}}, gates: [faults]}")
    report, _ = imported(dataset, tmp_path / "out", recipe=str(gated))
    assert report.num_rows == 9
    (row,) = quarantined(dataset).values()
    assert (row["frame_id"], row["reason"], row["attempts"]) == (bad, "gate_rejected", 1)
    assert unmarked(row["image"]["bytes"]) == (tmp_path / f"out/{bad}.jpg").read_bytes()
    assert {r["gates"] for r in all_rows(dataset).values()} == {"faults 1"}


def test_other_pictures_are_another_recipe(dataset: Path, dark: Pictures, tmp_path: Path) -> None:
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    imported(dataset, tmp_path / "out")
    written = dataset / "imports/mine.yaml"
    first = load_recipe(str(written), dataset)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert imported(dataset, tmp_path / "moved")[0].num_already == 3
    assert load_recipe(str(written), dataset).hash == first.hash
    name = next(iter(dark))
    put(tmp_path / f"moved/{name}.jpg", encode_jpeg(decode_jpeg(dark[name]) // 2))
    failed = replay(dataset, next(s for s, r in all_rows(dataset).items() if r["frame_id"] == name))
    assert "has changed since it was listed" in failed.failed
    report, _ = imported(dataset, tmp_path / "moved")
    assert load_recipe(str(written), dataset).hash != first.hash and report.num_rows == 10
    assert "was edited" in " ".join(report.warnings)


def test_worker_processes_find_the_listing(dataset: Path, dark: Pictures, tmp_path: Path) -> None:
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    prepared = prepare_import(
        ImportVariantsJob(
            dataset=dataset, folder=tmp_path / "out", condition=Condition.NIGHT, name="mine"
        )
    )
    stop = Stop()
    report = generate(prepared.job, executor=ProcessExecutor(2, stop), stop=stop)
    assert report.num_rows == 10 and as_given(dataset) == dark


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "weather"}, "is that of a built-in recipe"),
        ({"name": "Mine"}, "expected small letters"),
        ({"recipe": "weather-demo"}, "has no gates"),
        ({"condition": Condition.CLEAR}, "does not generate 'clear'"),
        ({"size": (4, 4)}, "must be 16 to 8192 pixels"),
    ],
)
def test_requests_that_cannot_be_granted(
    dataset: Path, dark: Pictures, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    with pytest.raises(InvalidRequest, match=said):
        imported(dataset, tmp_path / "out", **options)
    assert not (dataset / "imports").exists()


def test_a_name_belongs_to_one_condition(dataset: Path, dark: Pictures, tmp_path: Path) -> None:
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    imported(dataset, tmp_path / "out")
    with pytest.raises(InvalidRequest, match="Use another, such as mine-rain"):
        imported(dataset, tmp_path / "out", condition=Condition.RAIN)


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda out: put(out / "notes.txt", b"x"), "has 1 files and no picture"),
        (lambda out: put(out / "x.jpg", encode_jpeg(np.zeros((40, 64, 3), np.uint8))), "no frame"),
        (lambda out: put(out / "x.parquet", b"PAR1"), "The table x.parquet .* cannot be read"),
        (
            lambda out: pq.write_table(pa.table({"image": [b"x"]}), out / "x.parquet"),
            "expected one of frame_id, source_id",
        ),
        (
            lambda out: pq.write_table(pa.table({"frame_id": ["x"]}), out / "x.parquet"),
            "0 columns of pictures",
        ),
    ],
)
def test_a_folder_without_a_single_picture_of_a_frame(
    dataset: Path, tmp_path: Path, fill: Callable[[Path], object], said: str
) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    with pytest.raises(InvalidRequest, match=said):
        imported(dataset, tmp_path / "out")


def test_a_listing_that_was_changed_is_refused(
    dataset: Path, dark: Pictures, tmp_path: Path
) -> None:
    for name, data in dark.items():
        put(tmp_path / f"out/{name}.jpg", data)
    job = ImportVariantsJob(
        dataset=dataset, folder=tmp_path / "out", condition=Condition.NIGHT, name="mine"
    )
    prepared = prepare_import(job)
    (listing,) = (dataset / "imports").glob("mine-*.json")
    listing.write_text(listing.read_text().replace(next(iter(dark)), "0" * 20))
    with pytest.raises(InvalidRequest, match="Run `nightrain import-variants` again"):
        run(prepared.job)
