"""Run control: pauses and cancellations that the server records reach the work of a flow run.

Prefect ends the process of a cancelled run if a worker started it, and does not interrupt paused
runs. A thread therefore reads the run's state every few seconds: "Paused" pauses the work after the
batch in progress, "Cancelling" stops it, and so does "Suspended", whose process ends until the run
is resumed. The thread also sends the run's heartbeats, by which silent_runs.py finds dead runs.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, SettingsContext

from nightrain.flows.runtime.heartbeat import SECONDS_BETWEEN_HEARTBEATS, Heart
from nightrain.pipelines.runs.stop import Stop

SECONDS_BETWEEN_LOOKS = 5.0
logger = logging.getLogger(__name__)


@contextmanager
def controlled_by_server(stop: Stop) -> Iterator[None]:
    """Apply the server's pauses and cancellations of the current flow run to `stop` meanwhile."""
    here = FlowRunContext.get()
    if here is None or here.flow_run is None:
        yield
        return
    ended, context, heart = threading.Event(), contextvars.copy_context(), Heart(here.flow_run)
    arguments = (_watch, here.flow_run.id, heart, stop, ended)
    watcher = threading.Thread(target=context.run, args=arguments, daemon=True)
    heart.beat()
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        heart.end()


@contextmanager
def without_slow_heartbeats() -> Iterator[None]:
    """Disable Prefect's own heartbeats, whose thread delays the end of every run by a second."""
    here = SettingsContext.get()
    if here is None:
        yield
        return
    flows = here.settings.flows.model_copy(update={"heartbeat_frequency": None})
    settings = here.settings.model_copy(update={"flows": flows})
    with SettingsContext(profile=here.profile, settings=settings):
        yield


def _watch(flow_run: UUID, heart: Heart, stop: Stop, ended: threading.Event) -> None:
    last_beat_s = time.monotonic()
    with get_client(sync_client=True) as client:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if time.monotonic() - last_beat_s >= SECONDS_BETWEEN_HEARTBEATS:
                heart.beat()
                last_beat_s = time.monotonic()
            state = _read(client, flow_run)
            if state is not None and not ended.is_set():
                apply(state, stop)


def _read(client: SyncPrefectClient, flow_run: UUID) -> State | None:
    try:
        return client.read_flow_run(flow_run).state
    except Exception as error:  # the server may be away; the work does not depend on it
        logger.debug("the run's state was not read: %s: %s", type(error).__name__, error)
        return None


def apply(state: State, stop: Stop) -> None:
    """Pause, resume or stop work as a state of its flow run says."""
    if state.is_cancelling() or state.is_cancelled() or state.name == "Suspended":
        if not stop.requested:
            logger.warning("%s on the server: stopping after the batch in progress", state.name)
            stop.request()
    elif state.is_paused() and not stop.paused:
        logger.warning("paused on the server: waiting after the batch in progress")
        stop.pause()
    elif state.is_running() and stop.paused:
        logger.info("resumed on the server")
        stop.resume()
