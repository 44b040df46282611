"""An engine with a device on the way to shards: one pinned batch size, overlap, one at a time."""

import itertools
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import RunFailure
from nightrain.datasets.ids import sample_id
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.datasets.shards.transaction import ShardReport
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.generate.batch import generate_batch
from nightrain.pipelines.generate.batch_size import unpin_batch_size
from nightrain.pipelines.generate.plan import plan_generation, plan_retry
from nightrain.pipelines.generate.variant_shard import GenerateShard
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop
from support.processes import DEADLINE_S
from support.synthetic import SyntheticSource, TintEngine, all_rows, ingest_synthetic, recipe

RECIPE = recipe(batch_size=8)
NAME = f"variants/{RECIPE.folder_of(Condition.NIGHT)}"


@dataclass
class FakeDevice(TintEngine):
    """The tint engine with a device; a batch that holds a sample of `fail_on` fails to begin."""

    overlaps: bool = True
    fits: int = 3
    device: str = ""
    model: str = "fake"
    on: Callable[[str], None] = lambda step: None
    bad: set[str] = field(default_factory=set)  # one outcome alone is a failure
    probed: list[int] = field(default_factory=list)
    begun: list[tuple[int, int]] = field(default_factory=list)  # (requests, batch size)
    steps: list[str] = field(default_factory=list)

    def device_id(self) -> str:
        return self.device

    def device_name(self) -> str:
        return self.model

    def probe(self, request: Request, limit: int) -> int:
        self._note("probe")
        self.probed.append(limit)
        return min(self.fits, limit)

    def embed(self, requests: Sequence[Request]) -> list[Request]:
        self._note("embed")
        return list(requests)

    def begin(self, embedded: list[Request], batch_size: int) -> list[Request]:
        self._note("begin")
        self.begun.append((len(embedded), batch_size))
        assert len(embedded) <= batch_size
        return embedded

    def finish(self, begun: list[Request]) -> list[Variant | Exception]:
        self._note("finish")
        return [
            ValueError("a bad picture") if r.sample_id in self.bad else v
            for r, v in zip(begun, self.generate(begun), strict=True)
        ]

    def rest(self) -> None:
        self._note("rest")

    def _note(self, step: str) -> None:
        self.steps.append(step)
        self.on(step)


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping.set_current(Stop())
    locks = tmp_path / "locks"
    locks.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(locks))


def generate(
    root: Path, engine: TintEngine, stop: Stop | None = None, *, retry: bool = False
) -> RunReport:
    stop, shards = stop or Stop(), list(plan_generation(Manifest(root), RECIPE).shards)
    shards = list(plan_retry(Manifest(root), shards)) if retry else shards
    work = GenerateShard(root, RECIPE, engine)
    return run(root, shards, work, executor=SerialExecutor(stop), stop=stop)


def plain_rows(tmp_path: Path, **changes: object) -> dict[str, dict]:
    """The rows of an engine without a device."""
    root = tmp_path / "plain"
    ingest_synthetic(root, SyntheticSource(num_frames=10))
    generate(root, TintEngine())
    return {k: {**row, **changes} for k, row in all_rows(root).items()}


def night(root: Path, number: int) -> str:
    """Sample id of a frame's night variant."""
    frames = sorted(all_rows(root, "frames"))
    return sample_id(frames[number], "night", RECIPE.hash_of(Condition.NIGHT), 0)


def test_the_batch_size_is_probed_once_and_holds_for_all(dataset: Path, tmp_path: Path) -> None:
    engine = FakeDevice()
    assert generate(dataset, engine).num_rows == 20
    assert engine.probed == [8] and engine.steps[0] == "probe"
    assert {size for _, size in engine.begun} == {3}
    assert len(engine.begun) == 4 * 2 + 2 * 1  # shards of 4, 4 and 2 frames, two conditions
    facts = pinned(dataset, NAME) or {}
    assert facts["batch_size"] == "3" and facts["recipe_hash"] == RECIPE.hash_of(Condition.NIGHT)
    assert facts["device"] == "fake" and facts["probed_pixels"] == "64x40"
    assert all_rows(dataset) == plain_rows(tmp_path, batch_size=3) and verify(dataset).accepted


def test_a_later_run_on_a_larger_device_takes_the_pinned_one(dataset: Path) -> None:
    generate(dataset, FakeDevice(fits=2))
    ingest_synthetic(dataset, SyntheticSource(num_frames=3, split="more"))
    larger = FakeDevice(fits=8)
    generate(dataset, larger)
    assert larger.probed == [] and {size for _, size in larger.begun} <= {2}
    assert {row["batch_size"] for row in all_rows(dataset).values()} == {2}


def test_each_device_model_has_its_own_size(dataset: Path) -> None:
    generate(dataset, FakeDevice(fits=2, model="NVIDIA L4"))
    for number, model in enumerate(["NVIDIA H200", "NVIDIA L4", "NVIDIA H200"]):
        ingest_synthetic(dataset, SyntheticSource(num_frames=3, split=f"more-{number}"))
        engine = FakeDevice(fits=6, model=model)
        generate(dataset, engine)
        assert {size for _, size in engine.begun} == {2 if model == "NVIDIA L4" else 6}
        assert engine.probed == ([8] if number == 0 else [])
    assert (pinned(dataset, NAME) or {})["device"] == "NVIDIA L4"
    assert (pinned(dataset, f"{NAME}.nvidia-h200") or {})["batch_size"] == "6"
    assert verify(dataset).accepted


def test_a_size_can_be_probed_again(dataset: Path) -> None:
    recipe, manifest = RECIPE, Manifest(dataset)
    for model, fits in (("a", 2), ("b", 4)):
        generate(dataset, FakeDevice(fits=fits, model=model))
        ingest_synthetic(dataset, SyntheticSource(num_frames=3, split=f"after-{model}"))
    unpin_batch_size(manifest, recipe, FakeDevice(model="a"))
    ingest_synthetic(dataset, SyntheticSource(num_frames=3, split="more"))
    for model, expected in (("b", 4), ("a", 8)):
        engine = FakeDevice(fits=8, model=model)
        generate(dataset, engine)
        ingest_synthetic(dataset, SyntheticSource(num_frames=3, split=f"again-{model}"))
        assert {size for _, size in engine.begun} == {expected}


def test_a_probe_that_fails_ends_the_run(dataset: Path) -> None:
    def fail(step: str) -> None:
        if step == "probe":
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RunFailure, match=r"while its batch size was probed.*out of memory"):
        generate(dataset, FakeDevice(on=fail))
    assert not Manifest(dataset).tables("variants")


def test_a_lost_device_ends_the_run_even_if_it_cannot_release_its_memory(dataset: Path) -> None:
    def die(step: str) -> None:
        if step in ("finish", "rest"):
            raise RuntimeError("CUDA error: unspecified launch failure")

    engine = FakeDevice(on=die)
    with pytest.raises(RunFailure, match=r"The GPU failed .*unspecified launch failure"):
        generate(dataset, engine)
    assert engine.steps.count("finish") == 1
    assert not Manifest(dataset).tables("variants") and not Manifest(dataset).tables("quarantine")


def test_samples_that_all_fail_alike_end_the_run_but_not_their_retry(dataset: Path) -> None:
    everything = FakeDevice(fail_on={night(dataset, n) for n in range(10)})
    with pytest.raises(RunFailure, match="failed alike"):
        generate(dataset, everything)
    assert not Manifest(dataset).tables("variants")
    bad = {night(dataset, 0), night(dataset, 5)}
    assert generate(dataset, FakeDevice(fail_on=bad)).num_quarantined == 2
    again = generate(dataset, FakeDevice(fail_on=bad), retry=True)
    assert again.num_quarantined == 2 and not again.failed


def test_of_two_that_probe_the_first_to_record_decides(dataset: Path) -> None:
    def other_is_first(step: str) -> None:
        if step == "probe":
            pin(dataset, NAME, {"batch_size": "2"})

    engine = FakeDevice(fits=5, on=other_is_first)
    generate(dataset, engine)
    assert {size for _, size in engine.begun} == {2}
    assert {row["batch_size"] for row in all_rows(dataset).values()} == {2}


@pytest.mark.parametrize("size", ["0", "9", "-1", "many", ""])
def test_a_pinned_size_that_makes_no_sense_fails_the_shards(dataset: Path, size: str) -> None:
    pin(dataset, NAME, {"batch_size": size})
    report = generate(dataset, FakeDevice())
    assert report.num_rows == 0 and len(report.failed) == 6
    assert all("expected 1 to the recipe's 8" in failure for failure in report.failed)


def test_an_engine_without_a_device_settles_nothing(dataset: Path) -> None:
    generate(dataset, TintEngine())
    assert not list((dataset / "_manifest").rglob("*.pinned"))
    assert {row["batch_size"] for row in all_rows(dataset).values()} == {8}


def test_nothing_is_pinned_where_no_request_can_be_made(tmp_path: Path) -> None:
    class Blind(SyntheticSource):
        def load(self, ref):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return replace(super().load(ref), exact_depth_m=None)

    ingest_synthetic(tmp_path / "blind", Blind(num_frames=3))
    engine = FakeDevice()
    report = generate(tmp_path / "blind", engine)
    assert report.num_quarantined == 6 and not engine.probed and not engine.begun
    assert pinned(tmp_path / "blind", NAME) is None


def test_failed_samples_are_quarantined_alone(dataset: Path, tmp_path: Path) -> None:
    raises, bad = {night(dataset, 0)}, {night(dataset, 5)}
    report = generate(dataset, FakeDevice(fail_on=raises, bad=bad))
    assert report.num_rows == 18 and report.num_quarantined == 2 and not report.failed
    expected = plain_rows(tmp_path, batch_size=3)
    assert all_rows(dataset) == {k: v for k, v in expected.items() if k not in raises | bad}
    assert generate(dataset, FakeDevice(), retry=True).num_rows == 2
    assert all_rows(dataset) == expected


def test_a_batch_that_fails_once_is_made_sample_by_sample(dataset: Path, tmp_path: Path) -> None:
    failures = {"embed": [True], "begin": [True], "finish": [True]}

    def fail_once(step: str) -> None:
        if failures.get(step):
            failures[step].pop()
            raise RuntimeError("a moment of weakness")

    assert generate(dataset, FakeDevice(on=fail_once)).num_rows == 20
    assert not any(failures.values())
    assert all_rows(dataset) == plain_rows(tmp_path, batch_size=3)


@pytest.mark.parametrize("after", [1, 2, 3, 6])
def test_a_stopped_run_keeps_what_was_begun(dataset: Path, tmp_path: Path, after: int) -> None:
    stop = Stop()
    engine = FakeDevice()

    def ask(step: str) -> None:
        if step == "begin" and engine.steps.count("begin") == after:
            stop.request()

    engine.on = ask
    report = generate(dataset, engine, stop)
    assert report.stopped and engine.steps.count("begin") == after == engine.steps.count("finish")
    assert not list((dataset / "_leases").iterdir()) and not list((dataset / "_tmp").iterdir())
    second = FakeDevice()
    generate(dataset, second)
    names = [name for made in (engine, second) for call in made.calls for name in call]
    assert len(names) == len(set(names)) == 20  # nothing that was begun is made again
    assert all_rows(dataset) == plain_rows(tmp_path, batch_size=3) and verify(dataset).accepted
    assert not list((dataset / "_partial").glob("*"))


def test_frames_are_prepared_once_for_all_conditions(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a thread of its own prepares those of each shard."""
    from nightrain.pipelines.generate import prepare

    monkeypatch.setattr("nightrain.pipelines.generate.batch._of_this_thread", threading.local())
    prepared: list[str] = []
    real = prepare.prepare_frame
    monkeypatch.setattr(
        prepare,
        "prepare_frame",
        lambda frame, *rest: prepared.append(frame.frame_id) or real(frame, *rest),
    )
    generate(dataset, FakeDevice())
    assert sorted(prepared) == sorted(all_rows(dataset, "frames"))


def make_shards(root: Path, engine: FakeDevice, reports: list[ShardReport]) -> threading.Thread:
    shard = plan_generation(Manifest(root), RECIPE).shards[0]
    thread = threading.Thread(
        target=lambda: reports.append(GenerateShard(root, RECIPE, engine)(shard))
    )
    thread.start()
    return thread


def test_a_device_in_use_is_waited_for(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, reports = threading.Event(), []
    monkeypatch.setattr("nightrain.pipelines.runs.device_lock.time.sleep", lambda _: looked.set())
    engine = FakeDevice(device="fake-0")
    with sole_use("fake-0"):
        thread = make_shards(dataset, engine, reports)
        assert looked.wait(DEADLINE_S)
        assert not engine.steps and not list((dataset / "_leases").glob("*"))
    thread.join()
    assert [r.status for r in reports] == ["committed"] and engine.steps[-1] == "rest"


def test_waiting_for_a_device_ends_when_asked_to_stop(dataset: Path) -> None:
    reports, engine = [], FakeDevice(device="fake-0")
    with sole_use("fake-0"):
        thread = make_shards(dataset, engine, reports)
        stopping.current().request()
        thread.join()
    assert [r.status for r in reports] == ["stopped"] and not engine.steps


def test_a_device_is_held_while_it_is_used_and_only_then(dataset: Path) -> None:
    free: dict[str, bool] = {}

    def look(step: str) -> None:
        looks = itertools.chain([False], itertools.repeat(True))
        with sole_use("fake-0", give_up=lambda: next(looks)) as held:
            free[step] = held

    engine = FakeDevice(device="fake-0", on=look)
    generate(dataset, engine)
    assert free == dict.fromkeys(["probe", "embed", "begin", "finish", "rest"], False)
    look("after")
    assert free["after"]


def test_a_batch_outside_a_run_holds_the_device_too(dataset: Path) -> None:
    from nightrain.datasets.conditions import Condition
    from nightrain.pipelines.generate.requests import plan_requests

    free: list[bool] = []

    def look(step: str) -> None:
        looks = itertools.chain([False], itertools.repeat(True))
        with sole_use("fake-0", give_up=lambda: next(looks)) as held:
            free.append(held)

    manifest = Manifest(dataset)
    rows = list(manifest.reader(manifest.entries("frames")[0].rows).rows())
    planned = list(plan_requests(rows, RECIPE, Condition.NIGHT, None))
    engine = FakeDevice(device="fake-0", on=look)
    made = generate_batch(planned, {}, RECIPE, Condition.NIGHT, engine, batch_size=4)
    assert [row["batch_size"] for row in made if isinstance(row, dict)] == [4] * 4
    assert engine.begun == [(4, 4)] and not any(free) and len(free) == 4
