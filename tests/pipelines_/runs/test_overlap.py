"""Overlapping stages: order, what runs beside what, how much is on its way, errors, the end."""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import pytest

from nightrain.pipelines.runs.overlap import ahead, overlapped
from support.processes import DEADLINE_S

STAGES = ("prepare", "begin", "finish", "complete")


@dataclass
class Work:
    """Fake stages that note what they do; a hook may wait for others or raise."""

    hook: Callable[[str, int], None] = lambda stage, item: None
    log: list[tuple[str, int]] = field(default_factory=list)

    def stage(self, name: str) -> Callable[[int], int]:
        def run(item: int) -> int:
            self.log.append((name, item))
            self.hook(name, item)
            return item

        return run

    def run(self, items: Iterator[int] | range) -> Generator[int, None, None]:
        prepare, begin, finish, complete = (self.stage(name) for name in STAGES)
        return overlapped(items, prepare=prepare, begin=begin, finish=finish, complete=complete)

    def items(self, stage: str) -> list[int]:
        return [item for name, item in self.log if name == stage]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [t for t in threading.enumerate() if t not in before]


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_every_item_goes_through_every_stage_in_order(count: int) -> None:
    work = Work()
    assert list(work.run(range(count))) == list(range(count))
    assert all(work.items(stage) == list(range(count)) for stage in STAGES)


def test_an_item_is_begun_before_the_one_ahead_of_it_is_finished() -> None:
    work = Work()
    list(work.run(range(4)))
    device = [(stage, item) for stage, item in work.log if stage in ("begin", "finish")]
    order = ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "begin 3"]
    assert [f"{stage} {item}" for stage, item in device] == [*order, "finish 2", "finish 3"]


def test_all_stages_run_at_the_same_time() -> None:
    """Each waits for a later item's stage, which comes only if they run side by side."""
    done = {(stage, item): threading.Event() for stage in STAGES for item in range(9)}
    waits = {
        ("begin", 1): ("prepare", 2),  # prepared while the device gets the one before
        ("finish", 1): ("prepare", 3),
        ("complete", 0): ("begin", 2),  # the device gets work while pictures are encoded
    }

    def hook(stage: str, item: int) -> None:
        done[stage, item].set()
        if (stage, item) in waits:
            assert done[waits[stage, item]].wait(DEADLINE_S)

    taken = 0
    for item in Work(hook).run(range(9)):
        if item == 0:  # encoded while the caller writes
            assert done["complete", 1].wait(DEADLINE_S)
        taken += 1
    assert taken == 9


def test_no_more_than_four_items_are_on_their_way() -> None:
    taken, full, most = [0, 0], threading.Event(), 0

    def source() -> Iterator[int]:
        nonlocal most
        for item in range(60):
            taken[0] += 1
            most = max(most, taken[0] - taken[1])
            if taken[0] - taken[1] == 4:
                full.set()
            yield item

    for item in Work().run(source()):
        if item == 0:
            taken[1] = 1
            assert full.wait(DEADLINE_S)  # the caller is slow, and the stages fill up
        taken[1] = item + 1
    assert 4 <= most <= 5  # the fifth: taken by the caller, who has not counted it yet


@pytest.mark.parametrize("stage", [*STAGES, "source"])
@pytest.mark.parametrize("bad", [0, 3, 6])
def test_an_error_comes_at_its_place(stage: str, bad: int) -> None:
    def hook(name: str, item: int) -> None:
        if (name, item) == (stage, bad):
            raise KeyError(f"{stage} {bad}")

    def source() -> Iterator[int]:
        for item in range(7):
            hook("source", item)
            yield item

    work, results = Work(hook), []
    with pytest.raises(KeyError, match=f"{stage} {bad}"):
        for item in work.run(source()):
            results.append(item)
    assert results == list(range(bad))
    assert max(work.items("begin"), default=0) <= bad + 2


def test_what_was_begun_is_finished_when_beginning_is_refused() -> None:
    class StopHere(Exception):
        pass

    stop = threading.Event()

    def hook(stage: str, item: int) -> None:
        if stage == "begin" and stop.is_set():
            raise StopHere
        if (stage, item) == ("begin", 3):
            stop.set()  # a signal arrives while the device gets its fourth batch

    work, results = Work(hook), []
    with pytest.raises(StopHere):
        for item in work.run(range(20)):
            results.append(item)
    assert results == [0, 1, 2, 3] == work.items("finish")


@pytest.mark.parametrize("after", [0, 1, 5])
def test_closing_ends_all_stages(after: int) -> None:
    work = Work()
    results = work.run(iter(range(1000)))
    for _ in range(after):
        next(results)
    results.close()
    counts = Counter(stage for stage, _ in work.log)
    assert all(counts[stage] <= after + 4 for stage in STAGES)
    assert bool(work.log) == bool(after)  # nothing is begun before somebody asks


def test_ahead_computes_the_next_one_and_no_more() -> None:
    computed, second = [], threading.Event()

    def source() -> Iterator[int]:
        for item in range(5):
            computed.append(item)
            if item == 1:
                second.set()
            yield item

    items = ahead(source())
    assert next(items) == 0 and second.wait(DEADLINE_S)
    assert computed == [0, 1]
    assert list(items) == [1, 2, 3, 4]
