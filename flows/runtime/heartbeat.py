"""Heartbeats: events by which the server knows that a flow run's process is alive.

The names are this package's own, because Prefect delivers its own events of a run's states in the
order of the states, and holds an event back for up to 15 minutes if an earlier one was never sent
(runs that the scheduler made minutes before) or was forgotten by a restart of the server. These
events follow no other, so that an automation sees each of them at once.
"""

import logging
import threading
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event, emit_event

HEARTBEAT = "nightrain.flow-run.heartbeat"
END = "nightrain.flow-run.ended"
SECONDS_BETWEEN_HEARTBEATS = 10.0
logger = logging.getLogger(__name__)


class Heart:
    """Heartbeats of one flow run; none is sent after its end."""

    def __init__(self, flow_run: FlowRun) -> None:
        self._flow_run, self._ended, self._lock = flow_run, False, threading.Lock()

    def beat(self) -> None:
        """Send a heartbeat, unless the run has ended."""
        with self._lock:
            if not self._ended:
                emit_event(HEARTBEAT, resource=_resource(self._flow_run))

    def end(self) -> None:
        """Send the end of the run, after which no heartbeat is expected."""
        with self._lock:
            self._ended = True
            report_end(self._flow_run)


def report_end(flow_run: FlowRun) -> None:
    """Send the end of a run, also for a process that could not do it itself.

    A request is repeated while the server restarts, whereas `emit_event` would lose the event.
    """
    event = Event(event=END, resource=_resource(flow_run))  # type: ignore[arg-type]
    route: Any = "/events"  # Prefect lists its routes as a type, without this one
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", route, json=[event.model_dump(mode="json")])
    except Exception as error:  # the server is away; the work does not depend on it
        logger.debug("the end was not reported: %s: %s", type(error).__name__, error)


def _resource(flow_run: FlowRun) -> dict[str, str]:
    return {
        "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
        "prefect.resource.name": flow_run.name,
    }
