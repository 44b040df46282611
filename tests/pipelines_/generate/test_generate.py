"""Generation: rows depend on what they are and on nothing else; nothing is lost or made twice."""

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DiskFull, InvalidRequest
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.transaction import ShardReport
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.generate.plan import plan_generation, plan_retry
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe


def generate(
    root: Path,
    made: Recipe | None = None,
    engine: TintEngine | None = None,
    stop: Stop | None = None,
    *,
    retry: bool = False,
    backwards: bool = False,
) -> RunReport:
    made, engine, stop = made or recipe(), engine or TintEngine(), stop or Stop()
    shards = list(plan_generation(Manifest(root), made).shards)
    if retry:
        shards = list(plan_retry(Manifest(root), shards))
    shards = shards[::-1] if backwards else shards
    work = GenerateShard(root, made, engine)
    return run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


def test_every_clear_frame_gets_every_condition_once(dataset: Path) -> None:
    report = generate(dataset)
    assert report.num_rows == 20 and report.num_quarantined == 0 and verify(dataset).accepted
    rows = all_rows(dataset)
    frames = all_rows(dataset, FRAMES)
    for condition in (Condition.NIGHT, Condition.FOG):
        made = [row for row in rows.values() if row["condition"] == condition]
        assert sorted(row["frame_id"] for row in made) == sorted(frames)
    for row in rows.values():
        frame = frames[row["frame_id"]]
        assert row["scene_id"] == frame["scene_id"] and row["licence"] == frame["licence"]
        assert 0.2 <= row["severity"] <= 0.8 and row["physical"]["visibility_m"] > 0


def test_running_again_makes_nothing(dataset: Path) -> None:
    generate(dataset)
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob("*.parquet")}
    engine = TintEngine()
    report = generate(dataset, engine=engine)
    assert report.num_rows == 0 and report.num_already == 6 and not engine.calls
    assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*.parquet")} == before


def test_a_changed_recipe_has_its_own_folder(dataset: Path) -> None:
    generate(dataset)
    generate(dataset, recipe(jpeg_quality=80))
    assert len(Manifest(dataset).tables("variants")) == 4 and verify(dataset).accepted


def test_rows_do_not_depend_on_order_or_shards(dataset: Path, tmp_path: Path) -> None:
    generate(dataset)
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10), frames_per_shard=7)
    generate(other, backwards=True)
    assert all_rows(other) == all_rows(dataset)


def test_variants_of_a_frame_differ_and_have_their_own_seeds(dataset: Path) -> None:
    generate(dataset, recipe(variants_per_frame=3))
    rows = list(all_rows(dataset).values())
    assert len(rows) == 60 == len({row["seed"] for row in rows})
    assert len({row["image_sha256"] for row in rows}) == 60


def poison(dataset: Path, count: int = 2) -> set[str]:
    """Sample ids of `count` variants that an engine will fail on."""
    from nightrain.datasets.ids import sample_id

    frames = sorted(all_rows(dataset, FRAMES))
    return {
        sample_id(frame, "night", recipe().hash_of(Condition.NIGHT), 0) for frame in frames[:count]
    }


def test_a_poison_item_is_quarantined_alone(dataset: Path) -> None:
    bad = poison(dataset)
    report = generate(dataset, engine=TintEngine(fail_on=bad))
    assert report.num_rows == 18 and report.num_quarantined == 2 and not report.failed
    manifest = Manifest(dataset)
    quarantined = [
        row
        for table in manifest.tables("variants")
        for entry in manifest.entries(table)
        if entry.quarantine is not None
        for row in manifest.reader(entry.quarantine).rows()
    ]
    assert {row["sample_id"] for row in quarantined} == bad
    assert {(r["reason"], r["error_type"], r["attempts"]) for r in quarantined} == {
        ("engine_error", "RuntimeError", 3)
    }
    assert verify(dataset).accepted


def test_the_neighbours_of_a_poison_item_are_unchanged(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10))
    generate(other)
    bad = poison(dataset)
    generate(dataset, engine=TintEngine(fail_on=bad))
    assert all_rows(dataset) == {k: v for k, v in all_rows(other).items() if k not in bad}


def test_retrying_makes_the_failed_ones_and_only_those(dataset: Path, tmp_path: Path) -> None:
    bad = poison(dataset)
    generate(dataset, engine=TintEngine(fail_on=bad))
    still = set(sorted(bad)[:1])
    engine = TintEngine(fail_on=still)
    assert generate(dataset, engine=engine, retry=True).num_rows == 1
    assert {name for call in engine.calls for name in call} == bad
    assert generate(dataset, retry=True).num_rows == 1
    assert generate(dataset, retry=True).num_rows == 0
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10))
    generate(other)
    assert all_rows(dataset) == all_rows(other) and verify(dataset).accepted


def test_a_failure_that_passes_is_no_failure(dataset: Path) -> None:
    class Flaky(TintEngine):
        def generate(self, requests):  # type: ignore[no-untyped-def]
            if len(self.calls) % 2 == 0:
                self.calls.append([])
                raise RuntimeError("a moment of weakness")
            return super().generate(requests)

    assert generate(dataset, engine=Flaky()).num_rows == 20


@dataclass
class Cropping(TintEngine):
    """Returns images that are too small, by default all of them."""

    only: str = ""  # sample id

    def _variant(self, request: Request) -> Variant:
        variant = super()._variant(request)
        if self.only not in ("", request.sample_id):
            return variant
        return replace(variant, image=variant.image[:-1])


def test_bad_output_is_quarantined(dataset: Path) -> None:
    generate(dataset)
    sample_id = next(iter(all_rows(dataset)))
    again = dataset.parent / "again"
    ingest_synthetic(again, SyntheticSource(num_frames=10))
    report = generate(again, engine=Cropping(only=sample_id))
    assert report.num_rows == 19 and report.num_quarantined == 1
    assert {r for t in report.tables.values() for r in t.quarantined} == {"bad_output"}


def test_an_engine_with_nothing_but_bad_output_commits_nothing(dataset: Path) -> None:
    report = generate(dataset, engine=Cropping())
    assert report.num_rows == report.num_quarantined == 0 and len(report.failed) == 6
    assert "generated no variant of the 4 frames of" in report.failed[0]
    assert not Manifest(dataset).tables("variants")
    assert generate(dataset).num_rows == 20


def test_frames_without_depth_are_quarantined_with_the_reason(dataset: Path) -> None:
    class Blind(SyntheticSource):
        def load(self, ref):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return replace(super().load(ref), exact_depth_m=None)

    root = dataset.parent / "blind"
    ingest_synthetic(root, Blind(num_frames=3))
    report = generate(root)
    assert {r for t in report.tables.values() for r in t.quarantined} == {"no_depth"}


class StopAfter(TintEngine):
    """Asks to stop while it makes its n-th batch."""

    stop: Stop
    after: int

    def generate(self, requests):  # type: ignore[no-untyped-def]
        variants = super().generate(requests)
        if len(self.calls) == self.after:
            self.stop.request()
        return variants


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_stopped_run_finishes_its_batch_and_goes_on_from_there(
    dataset: Path, tmp_path: Path, after: int
) -> None:
    engine = StopAfter()
    engine.stop, engine.after = Stop(), after
    report = generate(dataset, engine=engine, stop=engine.stop)
    assert report.stopped and len(engine.calls) == after
    assert not list((dataset / "_leases").iterdir()) and not list((dataset / "_tmp").iterdir())
    second = TintEngine()
    generate(dataset, engine=second)
    first_names = [name for call in engine.calls for name in call]
    second_names = [name for call in second.calls for name in call]
    assert not set(first_names) & set(second_names)  # no finished sample is made again
    assert len(first_names) + len(second_names) == 20
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=10))
    generate(other)
    assert all_rows(dataset) == all_rows(other) and verify(dataset).accepted
    assert not list((dataset / "_partial").glob("*"))


def test_a_damaged_head_start_counts_as_none(dataset: Path) -> None:
    engine = StopAfter()
    engine.stop, engine.after = Stop(), 1
    generate(dataset, engine=engine, stop=engine.stop)
    (partial,) = (dataset / "_partial").iterdir()
    partial.write_bytes(partial.read_bytes()[:-50])
    assert generate(dataset).num_rows == 20 and verify(dataset).accepted


def test_a_damaged_frames_shard_fails_its_variants_and_no_others(dataset: Path) -> None:
    path = dataset / Manifest(dataset).entries(FRAMES)[1].rows.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = generate(dataset)
    assert len(report.failed) == 2 and all("CorruptShard" in words for words in report.failed)
    assert report.num_rows == 12


def test_evaluation_scenes_are_left_out_unless_asked_for_in_words(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=4, split="val"))
    with pytest.raises(InvalidRequest, match=r"val scenes.*--include-evaluation-scenes"):
        plan_generation(Manifest(tmp_path), recipe())
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=3, split="train"))
    plan = plan_generation(Manifest(tmp_path), recipe())
    assert plan.num_frames == 3 and sum(plan.skipped.values()) == 4
    asked = plan_generation(Manifest(tmp_path), recipe(), include_evaluation_scenes=True)
    assert asked.num_frames == 7 and asked.num_variants == 14


def test_frames_that_are_not_clear_are_no_source(tmp_path: Path) -> None:
    ingest_synthetic(tmp_path, SyntheticSource(num_frames=4, condition=Condition.NIGHT))
    with pytest.raises(InvalidRequest, match="night frames"):
        plan_generation(Manifest(tmp_path), recipe())


def test_an_empty_dataset_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nightrain ingest"):
        plan_generation(Manifest(tmp_path), recipe())


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="run the same command again"):
        generate(dataset)
    monkeypatch.setattr(os, "fsync", real)
    assert not verify(dataset).problems and not list((dataset / "_tmp").iterdir())
    generate(dataset)
    assert len(all_rows(dataset)) == 20 and verify(dataset).accepted


def test_somebody_elses_shard_is_left_alone(dataset: Path) -> None:
    shard = plan_generation(Manifest(dataset), recipe()).shards[0]
    lease = Manifest(dataset).lease(shard)
    assert lease is not None
    engine = TintEngine()
    report = GenerateShard(dataset, recipe(), engine)(shard)
    assert report.status == "elsewhere" and not engine.calls
    lease.release()
    assert GenerateShard(dataset, recipe(), engine)(shard).status == "committed"
    assert GenerateShard(dataset, recipe(), engine)(shard).status == "already"


def test_progress_counts_rows_and_reports_are_small(dataset: Path) -> None:
    counts: list[int] = []
    shard = plan_generation(Manifest(dataset), recipe()).shards[0]
    report = GenerateShard(dataset, recipe(), TintEngine())(shard, counts.append)
    assert sum(counts) == 4 == report.num_rows
    assert len(report.model_dump_json()) < 1000
    assert ShardReport.model_validate_json(report.model_dump_json()) == report


def test_a_missing_frames_shard_says_what_to_do(dataset: Path) -> None:
    shard = Shard(table=recipe().table(Condition.NIGHT), number=99)
    with pytest.raises(Exception, match=r"00099.*nightrain ingest"):
        GenerateShard(dataset, recipe(), TintEngine())(shard)


@pytest.fixture(autouse=True)
def _fresh_stop_flag() -> None:
    stopping.set_current(Stop())
