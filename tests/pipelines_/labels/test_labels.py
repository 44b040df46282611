"""Labels: one row per frame whatever happens, one table per teacher, exactly once."""

import dataclasses
import io
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError, PlanMismatch, RunFailure
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.io.images import (
    JpegImage,
    decode_confidence_png,
    decode_depth_png,
    decode_jpeg,
    encode_confidence_png,
    encode_depth_png,
    encode_jpeg,
)
from nightrain.datasets.shards.label_rows import LABEL_COLUMNS, label_from_row, labels_of
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.depthmodel.network.model import DepthModel
from nightrain.pipelines.inspect.stats import dataset_stats
from nightrain.pipelines.labels.job import plan_labels
from nightrain.pipelines.labels.labelling_model import LabellingModel, load_labelling_model
from nightrain.pipelines.labels.settings import LabelSettings, labels_table
from nightrain.pipelines.labels.shard import LabelShard
from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from support.processes import start, wait_until
from support.synthetic import (
    INTRINSICS,
    SIZE,
    SyntheticSource,
    all_rows,
    ground_depth_m,
    ingest_synthetic,
    picture,
)
from support.tiny_depth_models import save_teacher

PLAIN = LabelSettings(confidence="flip", batch_size=2)


@dataclass
class RedTeacher:
    """Depth is the red of a picture in quarters of a metre; can be told to fail, stop or wait."""

    name: str = "red"
    digest: str = "0123456789abcdef"
    runs_on: str = "cpu"
    bad: frozenset[int] = frozenset()  # means of pictures whose depth has a NaN
    fail_on: frozenset[int] = frozenset()
    stop: Stop | None = None
    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)

    def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.calls.append(len(images))
        time.sleep(self.seconds)
        if hit := self.fail_on & {key(image) for image in images}:
            raise RuntimeError(f"cannot see {hit}")
        if self.stop is not None:
            self.stop.request()
        depths = [0.5 + image[..., 0].astype(np.float32) / 4 for image in images]
        for image, depth_m in zip(images, depths, strict=True):
            depth_m[0, 0] = np.nan if key(image) in self.bad else depth_m[0, 0]
        return depths


def key(image: np.ndarray) -> int:
    """Names a picture, mirrored or not."""
    return int(image.sum())


def label(
    root: Path,
    teacher: LabellingModel,
    settings: LabelSettings = PLAIN,
    stop: Stop | None = None,
) -> RunReport:
    stop = stop or Stop()
    plan = plan_labels(Manifest(root), teacher, settings)
    work = LabelShard(root, teacher, settings)
    return run(root, plan.shards, work, executor=SerialExecutor(stop), stop=stop)


def pictures(root: Path) -> dict[str, np.ndarray]:
    return {n: decode_jpeg(r["image"]["bytes"]) for n, r in all_rows(root, FRAMES).items()}


# The codec


def test_the_codecs_lose_less_than_half_a_step() -> None:
    rng = np.random.default_rng(1)
    depth_m = np.exp(rng.uniform(np.log(0.1), np.log(80.0), (256, 448))).astype(np.float32)
    error_m = np.abs(decode_depth_png(encode_depth_png(depth_m)) - depth_m)
    assert error_m.max() <= 1 / 512 and error_m.max() > 1 / 600
    confidence = rng.uniform(0, 1, (256, 448)).astype(np.float32)
    error = np.abs(decode_confidence_png(encode_confidence_png(confidence)) - confidence)
    assert error.max() <= 0.5 / 255 + 1e-6


# The table


def test_labels_match_the_frames_row_by_row(dataset: Path) -> None:
    report = label(dataset, RedTeacher())
    assert report.num_rows == 10 and not report.num_quarantined and verify(dataset).accepted
    manifest, table = Manifest(dataset), labels_table(RedTeacher(), PLAIN)
    for entry in manifest.entries(FRAMES):
        frames = list(manifest.reader(entry.rows).rows())
        labels = list(labels_of(manifest, entry.shard, table).rows())
        assert [r["frame_id"] for r in labels] == [r["frame_id"] for r in frames]
        for frame, row in zip(frames, labels, strict=True):
            shared = (set(row) & set(frame)) - {"depth_scale"}
            assert {"licence", "scene_id", "intrinsics", "width"} <= shared
            assert {k: row[k] for k in shared} == {k: frame[k] for k in shared}
            made = label_from_row(row)
            expected = 0.5 + decode_jpeg(frame["image"]["bytes"])[..., 0] / 4
            assert made is not None and made.frame_id == frame["frame_id"]
            assert np.abs(made.depth_m - expected).max() <= 1 / 512
            assert made.confidence.min() == 1.0  # this teacher sees no difference in a mirror
            assert (row["teacher"], row["teacher_sha256"]) == ("red", "0123456789abcdef")
            assert row["depth_share"] == row["confident_share"] == 1.0
    labels_read = labels_of(manifest, manifest.entries(FRAMES)[0].shard, table)
    assert set(labels_read.row(0, LABEL_COLUMNS)) == set(LABEL_COLUMNS)


def test_a_teacher_that_guesses_by_the_side_is_not_trusted(dataset: Path) -> None:
    class Sided(RedTeacher):
        def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            ramp = np.linspace(10.0, 20.0, SIZE[0], dtype=np.float32)
            return [np.tile(ramp, (SIZE[1], 1)) for _ in images]

    label(dataset, Sided())
    for row in all_rows(dataset, "labels").values():
        confidence = decode_confidence_png(row["confidence"]["bytes"])
        ramp = np.linspace(10.0, 20.0, SIZE[0])
        expected = np.exp(-np.abs(np.log(ramp / ramp[::-1])) / 0.1)
        assert np.abs(confidence - expected).max() < 0.5 / 255 + 1e-3
        assert row["confident_share"] == pytest.approx((expected >= 0.5).mean(), abs=1e-6)


def test_another_digest_or_setting_is_another_table(dataset: Path) -> None:
    teachers = [RedTeacher(), RedTeacher(digest="ffff"), RedTeacher(name="blue")]
    settings = [PLAIN, PLAIN.model_copy(update={"flip_scale": 0.2})]
    tables = {labels_table(t, s) for t in teachers for s in settings}
    assert len(tables) == 6
    for teacher in teachers[:2]:
        assert label(dataset, teacher).num_rows == 10
    assert len(Manifest(dataset).tables("labels/")) == 2 and verify(dataset).accepted


def test_a_teacher_that_changed_since_the_plan_writes_nothing(dataset: Path) -> None:
    (shard, *_) = plan_labels(Manifest(dataset), RedTeacher(), PLAIN).shards
    with pytest.raises(PlanMismatch, match="planned for another teacher: 'red' with digest ffff"):
        LabelShard(dataset, RedTeacher(digest="ffff"), PLAIN)(shard)
    assert not Manifest(dataset).tables("labels/")


def test_only_clear_frames_outside_the_evaluation_are_labelled_unless_asked(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(4))
    ingest_synthetic(root, SyntheticSource(3, condition=Condition.NIGHT, name="dark"))
    ingest_synthetic(root, SyntheticSource(2, split="val", name="held-out"))
    manifest = Manifest(root)
    plan = plan_labels(manifest, RedTeacher())
    assert (plan.num_frames, sorted(plan.skipped.values())) == (4, [2, 3])
    every = (Condition.CLEAR, Condition.NIGHT)
    assert plan_labels(manifest, RedTeacher(), conditions=every).num_frames == 7
    assert plan_labels(manifest, RedTeacher(), include_evaluation_scenes=True).num_frames == 6
    with pytest.raises(InvalidRequest, match="choose other frames with --condition"):
        plan_labels(manifest, RedTeacher(), conditions=(Condition.FOG,))
    with pytest.raises(InvalidRequest, match="nightrain ingest"):
        plan_labels(Manifest(tmp_path / "empty"), RedTeacher())


def test_labels_have_the_size_and_intrinsics_that_were_asked_for(dataset: Path) -> None:
    label(dataset, RedTeacher(), LabelSettings(size=(32, 20), confidence="flip"))
    for row in all_rows(dataset, "labels").values():
        assert decode_depth_png(row["depth"]["bytes"]).shape == (20, 32)
        assert (row["width"], row["height"]) == (32, 20)
        # The middle of the picture stays the middle: 31.5 of 64 is 15.5 of 32.
        assert row["intrinsics"] == pytest.approx([25, 0, 15.5, 0, 25, 9.5, 0, 0, 1])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Cannot allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_batch_that_does_not_fit_into_memory_ends_the_run(
    dataset: Path, error: Exception
) -> None:
    """It is not halved: the last digits of a label depend on the batch size."""

    class Large(RedTeacher):
        def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            if len(self.calls) == 1:  # the first frames are labelled
                raise error
            return super().predict(images)

    with pytest.raises(RunFailure, match=r"batch of 2 images does not fit.*`--batch-size 1`"):
        label(dataset, Large())
    manifest = Manifest(dataset)
    assert not manifest.tables("labels") and not manifest.tables("quarantine")
    assert not [*dataset.glob("_leases/*"), *dataset.glob("_tmp/*")]
    assert label(dataset, RedTeacher()).num_rows == 10


# Interruptions


def test_running_again_asks_nothing(dataset: Path) -> None:
    label(dataset, RedTeacher())
    again = RedTeacher()
    report = label(dataset, again)
    assert report.num_already == 3 and not report.num_rows and not again.calls


def test_a_stopped_run_goes_on_where_it_was(dataset: Path, tmp_path: Path) -> None:
    stop, bad = Stop(), frozenset({key(picture_of) for picture_of in first(pictures(dataset), 1)})
    report = label(dataset, RedTeacher(stop=stop, bad=bad), stop=stop)
    assert report.stopped and not report.num_rows
    second = RedTeacher(bad=bad)
    report = label(dataset, second)
    assert report.num_quarantined == 1  # what failed before the stop is not forgotten
    # One frame was kept; of its batch the bad one is asked for again, in a whole batch.
    assert set(second.calls) == {2} and not list((dataset / "_partial").glob("*"))
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10), frames_per_shard=7)
    label(other, RedTeacher(bad=bad))
    assert all_rows(dataset, "labels") == all_rows(other, "labels") and verify(dataset).accepted


def first(found: dict[str, np.ndarray], count: int) -> list[np.ndarray]:
    return list(found.values())[:count]


def label_slowly(root: Path) -> None:
    label(root, RedTeacher(seconds=0.5))


def kill_while_it_labels(root: Path, num_committed: int) -> None:
    """SIGKILL a process that labels its first shard after `num_committed` others."""
    process = start(label_slowly, root)
    manifest = root / "_manifest" / labels_table(RedTeacher(), PLAIN)

    def is_at_work() -> bool:
        assert process.is_alive()
        committed = len(list(manifest.glob("*.json")))
        return committed >= num_committed and any((root / "_tmp").glob("*"))

    wait_until(is_at_work, "work on a shard")
    time.sleep(0.3)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_run_loses_and_repeats_nothing(dataset: Path, tmp_path: Path) -> None:
    for num_committed, num_rows in ((0, 0), (1, 4)):  # in the first shard, in the second
        kill_while_it_labels(dataset, num_committed)
        assert verify(dataset).accepted and len(all_rows(dataset, "labels")) == num_rows
    label(dataset, RedTeacher())
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10), frames_per_shard=7)
    label(other, RedTeacher())
    assert all_rows(dataset, "labels") == all_rows(other, "labels")
    report = verify(dataset)
    assert report.accepted and not report.orphans


def test_two_workers_write_what_one_does(dataset: Path) -> None:
    stop, teacher = Stop(), RedTeacher()
    plan = plan_labels(Manifest(dataset), teacher, PLAIN)
    work, executor = LabelShard(dataset, teacher, PLAIN), ProcessExecutor(2, stop)
    report = run(dataset, plan.shards, work, executor=executor, stop=stop)
    assert report.num_rows == 10 and verify(dataset).accepted and not Manifest(dataset).orphans()


# What fails


@pytest.mark.parametrize("kind", ["bad", "fail_on"])
def test_a_frame_that_cannot_be_labelled_is_counted_and_keeps_its_place(
    dataset: Path, kind: str
) -> None:
    ids = list(pictures(dataset))
    broken = ids[5]
    teacher = RedTeacher(**{kind: frozenset({key(pictures(dataset)[broken])})})
    report = label(dataset, teacher)
    reason = {"bad": "bad_output", "fail_on": "engine_error"}[kind]
    (table,) = report.tables.values()
    assert (report.num_rows, table.quarantined) == (10, {reason: 1}) and not report.failed
    rows = all_rows(dataset, "labels")
    assert set(rows) == set(ids) and [i for i in ids if rows[i]["depth"] is None] == [broken]
    assert label_from_row(rows[broken]) is None and rows[broken]["confident_share"] == 0
    manifest = Manifest(dataset)
    (quarantine,) = [
        e.quarantine for e in manifest.entries(labels_table(teacher, PLAIN)) if e.quarantine
    ]
    (row,) = manifest.reader(quarantine).rows()
    assert (row["frame_id"], row["reason"]) == (broken, reason) and verify(dataset).accepted
    good = label_from_row(rows[ids[4]])  # asked for in the same batch
    assert good is not None and good.depth_m.min() > 0


def test_a_damaged_picture_is_counted_and_keeps_its_place(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = next(iter(all_rows(dataset, FRAMES).values()))["image"]["bytes"]
    monkeypatch.setattr(
        JpegImage, "pixels", lambda s: decode_jpeg(s.data[:-40] if s.data == broken else s.data)
    )
    report = label(dataset, RedTeacher())
    (table,) = report.tables.values()
    assert report.num_rows == 10 and table.quarantined == {"undecodable_image": 1}
    assert verify(dataset).accepted


def _wrong_shape(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.ones((3, 4), np.float32) for _ in images]


def _negative(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.full(image.shape[:2], -1.0, np.float32) for image in images]


def _too_few(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return []


@pytest.mark.parametrize("predict", [_wrong_shape, _negative, _too_few])
def test_a_teacher_that_fails_at_everything_commits_nothing(dataset: Path, predict) -> None:  # type: ignore[no-untyped-def]
    teacher = RedTeacher()
    teacher.predict = predict  # type: ignore[method-assign]
    report = label(dataset, teacher)
    assert len(report.failed) == 3 and "labelled none of the 4 frames" in report.failed[0]
    assert not report.num_rows and not Manifest(dataset).tables("labels/")
    assert label(dataset, RedTeacher()).num_rows == 10


def test_missing_weights_end_the_run_and_quarantine_nothing(dataset: Path) -> None:
    class Absent(RedTeacher):
        def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            raise InvalidRequest("The weights are not on this machine.")

    with pytest.raises(InvalidRequest, match="weights are not on this machine"):
        label(dataset, Absent())
    assert not Manifest(dataset).tables("labels/")


def test_depth_that_the_file_cannot_hold_is_none_and_not_trusted(dataset: Path) -> None:
    class Far(RedTeacher):
        def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            depths = [np.full(image.shape[:2], 10.0, np.float32) for image in images]
            for depth_m in depths:
                depth_m[:10] = 300.0
            return depths

    label(dataset, Far())
    for row in all_rows(dataset, "labels").values():
        made = label_from_row(row)
        assert made is not None and row["depth_share"] == row["confident_share"] == 0.75
        assert ((made.depth_m == 0) == (made.confidence == 0)).all() and made.depth_m[9, 0] == 0


def test_frames_that_are_gone_are_asked_for(dataset: Path) -> None:
    (shard, *_) = plan_labels(Manifest(dataset), RedTeacher(), PLAIN).shards
    (dataset / "_manifest" / "frames" / f"{shard.stem}.json").unlink()
    with pytest.raises(NightrainError, match="nightrain ingest"):
        LabelShard(dataset, RedTeacher(), PLAIN)(shard)


# Neighbours


@dataclass(frozen=True)
class MovingSource(SyntheticSource):
    """Frames of the plane with an earlier picture of it, taken 0.8 m behind or damaged."""

    damaged_neighbours: bool = False

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        if int(ref.source_id) % 2:  # every other frame stands alone
            return frame
        T_previous_camera = np.eye(4)
        T_previous_camera[2, 3] = 0.8
        data = encode_jpeg(self.seen_from(T_previous_camera), 100)
        previous = Neighbour(
            source_id="before",
            timestamp_us=ref.timestamp_us - 1,
            image=JpegImage(data[:-60] if self.damaged_neighbours else data),
            intrinsics=INTRINSICS,
            T_neighbour_camera=T_previous_camera,
        )
        here = JpegImage(encode_jpeg(self.seen_from(np.eye(4)), 100))
        return dataclasses.replace(frame, image=here, previous=previous)

    def seen_from(self, T_view_camera: np.ndarray) -> np.ndarray:
        """The ground 1.5 m below, a sum of waves; grey above the horizon."""
        u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(INTRINSICS).T
        with np.errstate(divide="ignore", invalid="ignore"):
            points = rays * (1.5 / rays[..., 1:2]) - T_view_camera[:3, 3]
        value = np.sin(3 * points[..., 0]) + np.sin(2.5 * points[..., 2] + 1)
        ground = (rays[..., 1] > 0.01) & np.isfinite(value)
        grey = np.where(ground, 128 + 50 * np.where(ground, value, 0), 128)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


@dataclass
class GroundTeacher(RedTeacher):
    """Knows the ground, times a factor."""

    factor: float = 1.0

    def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        depth_m = np.minimum(ground_depth_m(), 80.0) * np.float32(self.factor)
        return [depth_m for _ in images]


def test_neighbours_tell_right_from_wrong_where_there_are_any(tmp_path: Path) -> None:
    root, settings = tmp_path / "dataset", LabelSettings(batch_size=3)
    ingest_synthetic(root, MovingSource(4))
    near = slice(30, 40)  # rows of ground up to 7 m away
    means: dict[float, list[float]] = {}
    for factor in (1.0, 1.2, 1 / 1.2):
        teacher = GroundTeacher(digest=f"{factor}", factor=factor)
        label(root, teacher, settings)
        rows = [r for r in all_rows(root, labels_table(teacher, settings)).values()]
        alone = [r for r in rows if r["confidence_source"] == "flip"]
        checked = [r for r in rows if r["confidence_source"] == "flip+photometric"]
        assert len(alone) == len(checked) == 2
        assert all(decode_confidence_png(r["confidence"]["bytes"]).min() == 1 for r in alone)
        means[factor] = [
            float(decode_confidence_png(r["confidence"]["bytes"])[near].mean()) for r in checked
        ]
    assert min(means[1.0]) > 0.9
    assert max(means[1.2]) < 0.5 and max(means[1 / 1.2]) < 0.5


def test_a_damaged_neighbour_costs_only_its_evidence(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, MovingSource(4, damaged_neighbours=True))
    report = label(tmp_path, GroundTeacher(), LabelSettings(batch_size=3))
    assert report.num_rows == 4 and not report.num_quarantined
    assert {r["confidence_source"] for r in all_rows(tmp_path, "labels").values()} == {"flip"}


# Reading


def test_labels_open_as_pictures_in_other_readers(dataset: Path) -> None:
    import duckdb
    import polars
    import pyarrow.parquet as pq
    from PIL import Image

    label(dataset, RedTeacher())
    (path, *_) = sorted((dataset / "labels").rglob("*.parquet"))
    made = label_from_row(next(iter(all_rows(dataset, "labels").values())))
    assert made is not None
    row = duckdb.sql(
        f"select depth.bytes, confidence.bytes from '{path}' where frame_id = '{made.frame_id}'"
    ).fetchall()[0]
    frame = polars.read_parquet(path).filter(polars.col("frame_id") == made.frame_id)
    assert frame["depth"][0]["bytes"] == row[0]
    depth, confidence = (np.asarray(Image.open(io.BytesIO(data))) for data in row)
    assert (depth / np.float32(256) == made.depth_m).all() and confidence.min() == 255
    metadata = pq.read_schema(path).metadata[b"huggingface"].decode()
    assert '"depth": {"_type": "Image"}' in metadata


def test_labels_of_other_frames_are_refused(dataset: Path, tmp_path: Path) -> None:
    label(dataset, RedTeacher())
    table, manifest = labels_table(RedTeacher(), PLAIN), Manifest(dataset)
    (shard, *_) = [entry.shard for entry in manifest.entries(FRAMES)]
    with pytest.raises(InvalidRequest, match="no labels of frames/00000 in 'labels/none'"):
        labels_of(manifest, shard, "labels/none")
    # The same ids in the same order, other pictures: only the file's digest tells.
    other = tmp_path / "other"
    ingest_synthetic(other, Repainted(10), frames_per_shard=4)
    for name in (f"_manifest/{table}", table):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).rename(other / name)
    with pytest.raises(PlanMismatch, match="labels of different frame images from frames/00000"):
        labels_of(Manifest(other), shard, table)
    report = verify(other)
    assert len(report.problems) == 3 and "different frame images" in report.problems[0].message
    fewer = tmp_path / "fewer"
    ingest_synthetic(fewer, SyntheticSource(10), frames_per_shard=3)
    for name in (f"_manifest/{table}", table):
        (fewer / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).rename(fewer / name)
    with pytest.raises(PlanMismatch, match="labels of different rows"):
        labels_of(Manifest(fewer), shard, table)


class Repainted(SyntheticSource):
    def load(self, ref: FrameRef) -> Frame:
        image = JpegImage(encode_jpeg(picture(1000 + int(ref.source_id))))
        return dataclasses.replace(super().load(ref), image=image)


def test_verify_finds_labels_that_lack_a_row_or_were_edited(dataset: Path) -> None:

    from nightrain.datasets.io.record import record_bytes
    from nightrain.datasets.shards.manifest import Entry

    label(dataset, RedTeacher())
    manifest, table = Manifest(dataset), labels_table(RedTeacher(), PLAIN)
    entries = manifest.entries(table)
    # An honest file with one row too few, with an honest entry: only the match tells.
    with manifest.writer(table, manifest.reader(entries[0].rows).group(0).schema, {}) as short:
        for row in list(manifest.reader(entries[0].rows).rows())[1:]:
            short.add(row)
        short.close()
        from nightrain.datasets.shards.parquet import describe_shard

        target = dataset / entries[0].rows.path
        target.write_bytes(short.path.read_bytes())
    rows = describe_shard(target, entries[0].rows.path)
    body = entries[0].model_copy(update={"rows": rows}).model_dump(mode="json")
    Entry.model_validate(body)
    manifest = dataset / "_manifest" / table / "00000.json"
    manifest.write_bytes(record_bytes("entry", body))
    edited = dataset / entries[1].rows.path
    data = bytearray(edited.read_bytes())
    data[len(data) // 2] ^= 1
    edited.write_bytes(data)
    (dataset / "_manifest" / "frames" / "00002.json").unlink()
    problems = {p.path: p.message for p in verify(dataset).problems}
    assert len(problems) == 3
    assert "different rows from frames/00000" in problems[entries[0].rows.path]
    assert "sha256" in problems[entries[1].rows.path]
    assert "not committed" in problems[entries[2].rows.path]


def test_statistics_and_card_know_labels(dataset: Path) -> None:
    bad = frozenset({key(first(pictures(dataset), 1)[0])})
    label(dataset, RedTeacher(bad=bad))
    table = labels_table(RedTeacher(), PLAIN)
    stats = dataset_stats(dataset).tables[table]
    assert stats.num_rows == 10 and stats.quarantined == {"bad_output": 1}
    assert stats.confident_share is not None and stats.depth_share is not None
    assert stats.depth_share.mean == pytest.approx(0.9) and stats.by_condition == {"clear": 10}


# The teacher of a folder


def test_the_teacher_of_a_folder_is_named_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "SSD-T final_1"
    folder.mkdir()
    teacher = load_labelling_model(folder, device="cpu")
    assert (teacher.name, teacher.runs_on) == ("ssd-t-final-1", "cpu")
    assert load_labelling_model(folder, "Mine", "cpu").name == "mine"
    assert pickle.loads(pickle.dumps(teacher)) == teacher
    with pytest.raises(InvalidRequest, match="not a folder"):
        load_labelling_model(tmp_path / "absent")
    with pytest.raises(InvalidRequest, match="with --name"):
        load_labelling_model(folder, "...", "cpu")


def test_a_plan_needs_no_weights_and_a_model_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    folder = save_teacher(tmp_path / "teacher", seed=0)
    first = load_labelling_model(folder, device="cpu")
    planned = first.digest  # of the header of the weights
    assert planned == DepthModel.from_pretrained(folder, "cpu").digest
    save_teacher(folder, seed=1)
    assert load_labelling_model(folder, device="cpu").digest != planned == first.digest
    with pytest.raises(InvalidRequest, match="was replaced by another model"):
        first.predict([np.zeros((40, 64, 3), np.uint8)])


def test_planning_labels_does_not_import_torch(dataset: Path, tmp_path: Path) -> None:
    folder = save_teacher(tmp_path / "teacher", seed=0)
    code = (
        "import sys; from nightrain.pipelines.labels.job import LabelJob; "
        "job = LabelJob.model_validate({'dataset': sys.argv[1], 'teacher': sys.argv[2]}); "
        "print(job.plan().num_frames, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(dataset), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "False"]
