"""What is exported equals what is in the shards, read back with plain tools."""

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.file_batch import FileBatch
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.reviews import Review, write_review
from nightrain.pipelines.export import run as running
from nightrain.pipelines.export.job import ExportDatasetJob, ExportReport
from nightrain.pipelines.export.progress import ExportProgress
from nightrain.pipelines.export.run import export_dataset
from nightrain.pipelines.export.webdataset import TarShards
from nightrain.pipelines.runs.stop import Stop
from support.loader import RECIPE, frame_rows, make_root
from support.synthetic import (
    INTRINSICS,
    SIZE,
    SyntheticSource,
    all_rows,
    ground_depth_m,
    ingest_synthetic,
    recipe,
)
from support.training import add_variants

NOW = datetime(2026, 11, 1, tzinfo=UTC)
Content = dict[str, bytes]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten clear frames in three shards, with two variants each at night and in fog, and labels."""
    return make_root(tmp_path)


def export(root: Path, out: Path, to: str = "folders", **options: Any) -> ExportReport:
    fields = {"dataset": root, "to": to, "out": out, "labels": "tiny"} | options
    return export_dataset(ExportDatasetJob.model_validate(fields), Stop())


def content(folder: Path) -> Content:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def shown(folder: Path) -> set[str]:
    return {row["sample_id"] for row in table(folder)}


def variants(root: Path) -> dict[str, Row]:
    return all_rows(root, "variants")


def test_folders_hold_the_bytes_of_the_shards(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = export(root, out)
    frames, made, found = frame_rows(root), variants(root), content(out)
    assert (report.num_frames, report.num_variants, report.num_rows) == (10, 40, 50)
    for key, row in made.items():
        data = found.pop(f"{row['condition']}/{key}.jpg")
        assert hashlib.sha256(data).hexdigest() == row["image_sha256"]
    for key, row in frames.items():
        assert found.pop(f"clear/{key}.jpg") == row["image"]["bytes"]
        assert found.pop(f"depth/{key}.png") == row["exact_depth"]["bytes"]
        assert found.pop(f"label/{key}.png") and found.pop(f"label_confidence/{key}.png")
        levels = cv2.imread(str(out / f"depth/{key}.png"), cv2.IMREAD_UNCHANGED)
        true_m = np.where(np.isfinite(ground_depth_m()), ground_depth_m(), 0)
        np.testing.assert_allclose(levels / 256, true_m, atol=0.5 / 256)
        label = cv2.imread(str(out / f"label/{key}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(label[0] / 256, np.linspace(2, 60, SIZE[0]), atol=0.5 / 256)
    assert found.keys() == {"metadata.jsonl", "README.md", "export.json"}


def test_metadata_are_those_of_the_shards(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "out")
    made, frames, rows = variants(root), frame_rows(root), table(tmp_path / "out")
    assert len(rows) == 50
    for row in rows:
        source = made[row["sample_id"]] if row["is_generated"] else frames[row["sample_id"]]
        same = ("frame_id", "condition", "split", "intrinsics", "licence", "attribution", "width")
        assert {key: row[key] for key in same} == {key: source[key] for key in same}
        assert (tmp_path / "out" / row["file_name"]).read_bytes() == source["image"]["bytes"]
        assert row["depth_file_name"] == f"depth/{row['frame_id']}.png"
        assert row["depth_kind"] == "exact" and row["teacher"] == "tiny"
        assert np.allclose(np.reshape(row["depth_intrinsics"], (3, 3)), INTRINSICS)
        if row["is_generated"]:
            same = ("severity", "seed", "prompt", "recipe", "recipe_hash", "variant_index")
            assert {key: row[key] for key in same} == {key: source[key] for key in same}
    assert "Apache-2.0" in (tmp_path / "out/README.md").read_text()


def test_hugging_face_reads_the_folders(root: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    export(root, tmp_path / "out")
    found = load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert found.num_rows == 50 and set(found["condition"]) == {"clear", "night", "fog"}
    row = found[0]
    assert row["image"].size == SIZE and np.asarray(row["depth"]).max() > 256


def samples(folder: Path) -> dict[str, Content]:
    """Members of each sample, by key and ending."""
    found: dict[str, Content] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None and (member.mtime, member.uid, member.gid) == (0, 0, 0)
                found.setdefault(key, {})[ending] = file.read()
    return found


def test_tar_shards_hold_whole_samples(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "out", "webdataset")
    found, made, frames = samples(tmp_path / "out"), variants(root), frame_rows(root)
    assert found.keys() == made.keys() | frames.keys()
    for key, members in found.items():
        source = made.get(key) or frames[key]
        assert members["jpg"] == source["image"]["bytes"]
        assert members["depth.png"] == frames[source["frame_id"]]["exact_depth"]["bytes"]
        facts = json.loads(members["json"])
        assert facts["condition"] == source["condition"] and facts["sample_id"] == key
        assert members.keys() == {"json", "jpg", "depth.png", "label.png", "label_confidence.png"}


def test_equal_datasets_give_equal_tar_files(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    shutil.copytree(root, again)
    export(root, tmp_path / "a", "webdataset")
    export(again, tmp_path / "b", "webdataset")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_tar_files_are_of_bounded_size_and_of_one_split(tmp_path: Path) -> None:
    progress = ExportProgress(request={}, selection_sha256="", num_rows=9)
    tars = TarShards(FileBatch(tmp_path), progress, most_bytes=25_000)
    for index in range(9):
        split, members = "train" if index < 7 else "val", {f"{index}.jpg": bytes(4000)}
        if tars.is_full(split, members):
            tars.close()
        tars.add(split, members)
    tars.close()
    assert progress.tars == {"train-000000.tar": 3, "train-000001.tar": 3} | {
        "train-000002.tar": 1,
        "val-000000.tar": 2,
    }
    assert all(path.stat().st_size <= 25_000 for path in tmp_path.glob("*.tar"))
    assert progress.num_done == 9


def test_verdicts_of_people_are_followed(root: Path, tmp_path: Path) -> None:
    rejected = sorted(variants(root))[:3]
    for name in rejected:
        fields = {"sample_id": name, "verdict": "reject", "created_at": NOW}
        write_review(root, Review.model_validate(fields))
    report = export(root, tmp_path / "out")
    assert report.left_out == {"rejected by people": 3} and report.num_variants == 37
    assert not shown(tmp_path / "out") & set(rejected)


def test_superseded_variants_are_left_out_unless_named(root: Path, tmp_path: Path) -> None:
    old = set(variants(root))
    add_variants(root, recipe(Condition.NIGHT, Condition.FOG, seed=7))
    new = set(variants(root)) - old
    export(root, tmp_path / "out")
    assert shown(tmp_path / "out") == new | frame_rows(root).keys()
    folder = RECIPE.table(Condition.NIGHT).split("/")[1]
    report = export(root, tmp_path / "old", recipe=(folder,))
    assert report.num_variants == 20 and shown(tmp_path / "old") < old | frame_rows(root).keys()


def test_a_condition_is_chosen(root: Path, tmp_path: Path) -> None:
    report = export(root, tmp_path / "out", condition=(Condition.FOG,), labels=None, depth="lidar")
    assert report.num_variants == 20
    rows = table(tmp_path / "out")
    assert {row["condition"] for row in rows} == {"clear", "fog"}
    assert {row["depth_kind"] for row in rows} == {"lidar"}
    assert not (tmp_path / "out/label").exists()
    with pytest.raises(InvalidRequest, match=r"no snow variants here; it has: fog, night"):
        export(root, tmp_path / "other", condition=(Condition.SNOW,))


def test_recorded_frames_and_splits_have_folders_of_their_own(root: Path, tmp_path: Path) -> None:
    ingest_synthetic(root, SyntheticSource(3, split="val", condition=Condition.NIGHT, name="n"))
    export(root, tmp_path / "out", split="all", recorded=True)
    found = content(tmp_path / "out")
    assert sum(name.startswith("val/recorded/night/") for name in found) == 3
    assert sum(name.startswith("train/night/") for name in found) == 20
    assert not any(name.startswith(("clear/", "night/")) for name in found)
    with pytest.raises(InvalidRequest, match=r"no frames in split 'test'; it has: train, val"):
        export(root, tmp_path / "other", split="test")


@pytest.mark.parametrize("to", ["folders", "webdataset", "kitti"])
@pytest.mark.parametrize("how", ["stop", "crash"])
def test_an_interrupted_export_is_resumed(
    root: Path, tmp_path: Path, to: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ROWS_PER_BATCH", 7)
    monkeypatch.setattr(running, "BYTES_PER_MB", 100_000)  # of tar files
    options: dict[str, Any] = {"dataset": root, "to": to, "labels": "tiny"}
    export(root, tmp_path / "whole", to, shard_mb=1)
    assert len(list((tmp_path / "whole").glob("*.tar"))) > 2 or to != "webdataset"
    job = ExportDatasetJob.model_validate(options | {"out": tmp_path / "out", "shard_mb": 1})
    for after in (5, 12, 9):
        stop, ended = Stop(), Interrupting(after, how)
        if how == "crash":
            with pytest.raises(KeyboardInterrupt):
                export_dataset(job, stop, on_done=ended(stop))
        else:
            assert export_dataset(job, stop, on_done=ended(stop)).stopped
        assert not (tmp_path / "out/metadata.jsonl").exists()
    report = export_dataset(job, Stop())
    assert report.num_rows == 50 and content(tmp_path / "out") == content(tmp_path / "whole")
    again = export_dataset(job, Stop())
    assert (again.num_kept, again.num_files) == (50, 0)


class Interrupting:
    """Ends an export after a number of rows, by a request or an exception."""

    def __init__(self, after: int, how: str) -> None:
        self.after, self.how, self.count = after, how, 0

    def __call__(self, stop: Stop) -> Callable[[int], None]:
        def done(count: int) -> None:
            self.count += 1  # the first call counts what earlier runs wrote
            if self.count > self.after:
                if self.how == "crash":
                    raise KeyboardInterrupt
                stop.request()

        return done


def test_another_folder_is_refused(root: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"holds thesis.txt and no export.json"):
        export(root, full)
    export(root, tmp_path / "out")
    with pytest.raises(InvalidRequest, match="another export; what differs: to, labels"):
        export(root, tmp_path / "out", "kitti", labels=None)
    fields = {"sample_id": min(variants(root)), "verdict": "reject", "created_at": NOW}
    write_review(root, Review.model_validate(fields))
    with pytest.raises(InvalidRequest, match="new variants, labels or verdicts"):
        export(root, tmp_path / "out")
    assert (full / "thesis.txt").read_text() == "mine" and len(content(full)) == 1


def test_kitti_numbers_the_frames_of_a_drive_by_time(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(root, out, "kitti")
    frames, made, rows = frame_rows(root), variants(root), table(out)
    drives: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        drive, camera, data, name = row["file_name"].removeprefix("train/").split("/")
        assert (camera, data, len(name)) == ("image_02", "data", len("0000000000.jpg"))
        drives.setdefault(drive, []).append(row | {"number": int(name[:10])})
        source = made.get(row["sample_id"]) or frames[row["sample_id"]]
        assert (out / row["file_name"]).read_bytes() == source["image"]["bytes"]
        depth = cv2.imread(str(out / row["depth_file_name"]), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16 and depth.max() > 256
        assert "/proj_depth/groundtruth/image_02/" in row["depth_file_name"]
        assert "/proj_depth/velodyne_raw/image_02/" in row["lidar_file_name"]
    for drive, of_drive in drives.items():
        of_drive.sort(key=lambda row: row["number"])
        assert [row["number"] for row in of_drive] == list(range(len(of_drive)))
        times = [row["timestamp_us"] for row in of_drive]
        assert times == sorted(times) and len({row["condition"] for row in of_drive}) == 1
        text = (out / "train" / drive / "calib_cam_to_cam.txt").read_text()
        lines = dict(line.split(": ") for line in text.splitlines())
        matrix = np.array(lines["P_rect_02"].split(), float).reshape(3, 4)
        assert np.allclose(matrix[:, :3], INTRINSICS) and not matrix[:, 3].any()
    scenes = {frame["scene_id"] for frame in frames.values()}
    assert len(drives) == len(scenes) * (1 + 2 * 2)


def test_an_id_that_is_not_one_names_no_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of other people may hold any text; its digest would be right."""
    from nightrain.pipelines.export import selection

    real = selection.read_columns

    def bad(*args: Any) -> Any:
        found = real(*args)
        if "sample_id" not in found.column_names:
            return found
        names = ["../../outside"] * found.num_rows
        return found.set_column(0, "sample_id", [names])

    monkeypatch.setattr(selection, "read_columns", bad)
    with pytest.raises(CorruptShard, match="expected 20 hex digits"):
        export(root, tmp_path / "out")
    assert not list(tmp_path.rglob("outside*"))


def test_a_damaged_shard_ends_the_export(root: Path, tmp_path: Path) -> None:
    path = root / Manifest(root).entries(FRAMES)[1].rows.path
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptShard):
        export(root, tmp_path / "out")
    assert not (tmp_path / "out/metadata.jsonl").exists()
