"""Batches: their sizes, and one bad item that does not take its neighbours along."""

from collections.abc import Sequence

import pytest

from nightrain.datasets.errors import DiskFull, InvalidRequest
from nightrain.pipelines.runs.batches import in_batches, isolate_failures


def test_batches_keep_order_and_the_last_may_be_shorter() -> None:
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


class Doubler:
    """Doubles numbers; negative ones fail the batch, the first `flaky` calls fail whatever."""

    def __init__(self, flaky: int = 0) -> None:
        self.calls: list[list[int]] = []
        self.flaky = flaky

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(items))
        if len(self.calls) <= self.flaky:
            raise OSError(f"call {len(self.calls)} fails")
        if any(item < 0 for item in items):
            raise KeyError(f"{min(items)} is negative")
        return [2 * item for item in items]


def test_a_batch_that_succeeds_is_run_once() -> None:
    run = Doubler()
    assert isolate_failures([1, 2, 3], run) == [2, 4, 6] and run.calls == [[1, 2, 3]]
    assert isolate_failures([], run) == [] and len(run.calls) == 1


def test_the_item_at_fault_is_found_and_the_order_is_kept() -> None:
    run = Doubler()
    first, bad, last = isolate_failures([1, -2, 3], run)
    assert (first, last) == (2, 6) and isinstance(bad, KeyError) and "-2" in str(bad)
    assert run.calls == [[1, -2, 3], [1], [-2], [3]]


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_batch_of_one_counts_as_its_first_attempt(attempts: int) -> None:
    run = Doubler()
    (failure,) = isolate_failures([-1], run, attempts=attempts)
    assert isinstance(failure, KeyError) and len(run.calls) == attempts


def test_an_item_alone_gets_several_attempts_and_the_last_error_counts() -> None:
    run = Doubler(flaky=3)  # the batch, and the first item twice
    assert isolate_failures([1, 2], run, attempts=3) == [2, 4]
    assert run.calls == [[1, 2], [1], [1], [1], [2]]
    run = Doubler(flaky=9)
    first, second = isolate_failures([1, 2], run, attempts=2)
    assert [str(first), str(second)] == ["call 3 fails", "call 5 fails"]


def test_an_item_alone_may_be_run_another_way() -> None:
    run = Doubler(flaky=1)
    assert isolate_failures([1, 2], run, run_alone=lambda item: 100 * item) == [100, 200]
    assert len(run.calls) == 1


def test_exceptions_in_the_place_of_results_are_results() -> None:
    failure = KeyError("of one item")
    assert isolate_failures([1, 2], lambda items: [failure, 2]) == [failure, 2]


def test_a_wrong_number_of_results_fails_the_batch() -> None:
    outcomes = isolate_failures([1, 2], lambda items: [7])
    assert outcomes == [7, 7]
    (failure,) = isolate_failures([1], lambda items: [7, 8])
    assert isinstance(failure, ValueError) and "expected 1 results" in str(failure)


@pytest.mark.parametrize("kind", [InvalidRequest, DiskFull, KeyboardInterrupt])
@pytest.mark.parametrize("in_batch", [True, False])
def test_what_ends_the_run_passes_through(kind: type[BaseException], in_batch: bool) -> None:
    calls: list[int] = []

    def run(items: Sequence[int]) -> list[int | Exception]:
        calls.append(len(items))
        if len(items) > 1 and not in_batch:
            raise KeyError("the batch")
        raise kind("all of it")

    with pytest.raises(kind, match="all of it"):
        isolate_failures([1, 2], run, attempts=3)
    assert calls == ([2] if in_batch else [2, 1])
