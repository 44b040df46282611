"""States that a server records reach the work: pauses, resumptions, cancellations."""

import threading
import time
from collections.abc import Callable

import pytest

import nightrain.flows  # noqa: F401  (its settings must be there before prefect is imported)
from nightrain.datasets.shards.transaction import ShardInterrupted
from nightrain.flows.runtime.control import apply
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.stop import Stop
from support.processes import DEADLINE_S


def test_states_pause_resume_and_stop() -> None:
    from prefect.states import Cancelling, Paused, Running, Suspended

    stop = Stop()
    apply(Running(), stop)
    assert not stop.interrupted
    apply(Paused(), stop)
    assert stop.paused and stop.interrupted and not stop.requested
    apply(Running(), stop)
    assert not stop.interrupted
    apply(Paused(), stop)
    apply(Cancelling(), stop)  # also ends a pause
    assert stop.requested
    suspended = Stop()
    apply(Suspended(), suspended)  # Prefect starts another process to resume it
    assert suspended.requested


def test_a_pause_interrupts_shards_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    monkeypatch.setattr(stopping, "_current", stop)
    stopping.interrupt_if_stopped()
    stop.pause()
    with pytest.raises(ShardInterrupted):
        stopping.interrupt_if_stopped()
    stop.resume()
    stopping.interrupt_if_stopped()


@pytest.mark.parametrize("end", [Stop.resume, Stop.request])
def test_waiting_ends_with_the_pause_or_with_a_stop(end: Callable[[Stop], None]) -> None:
    stop, ended = Stop(), threading.Event()

    def wait() -> None:
        stop.wait_while_paused()
        ended.set()

    stop.wait_while_paused()  # returns at once
    stop.pause()
    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.2)
    assert not ended.is_set()
    end(stop)
    assert ended.wait(DEADLINE_S)
