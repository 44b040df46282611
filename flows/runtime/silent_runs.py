"""Silent runs: an automation that marks a run as crashed after its process or machine has died.

Every flow run of this package sends heartbeats (heartbeat.py). Workers report a killed process on
their own; the automation is for those that died with their worker.

    python -m nightrain.flows.runtime.silent_runs                # creates the automation, once
    python -m nightrain.flows.runtime.silent_runs --within 600   # after ten minutes of silence
"""

import argparse
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from nightrain.flows.runtime.heartbeat import END, HEARTBEAT, SECONDS_BETWEEN_HEARTBEATS

NAME = "nightrain: crash silent runs"
DEFAULT_WITHIN_S = 120.0
LOWEST_WITHIN_S = 3 * SECONDS_BETWEEN_HEARTBEATS
# States after which no heartbeat is expected, for runs whose own report of their end was lost.
# Skipped is a name of ours for a completed run.
ENDS = (
    "Completed",
    "Skipped",
    "Failed",
    "Cancelled",
    "Crashed",
    "TimedOut",
    "Suspended",
    "AwaitingRetry",
)


def automation(within_s: float = DEFAULT_WITHIN_S) -> Automation:
    """Return the automation: a heartbeat must be followed by another one, or by an end."""
    return Automation(
        name=NAME,
        description="Mark a flow run as Crashed when its heartbeats stop before its end.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, END, *(f"prefect.flow-run.{name}" for name in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=within_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name=None,
                message="Its heartbeats stopped: the process or its machine has died.",
                force=False,
            )
        ],
    )


def ensure_automation(within_s: float | None = None) -> None:
    """Create the automation on the server, or bring an existing one up to date.

    `within_s` is the silence after which a run counts as dead; None keeps that of the server.
    """
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(NAME)
    if not known:
        automation(within_s or DEFAULT_WITHIN_S).create()
        return
    found = known[0].trigger
    if not isinstance(found, EventTrigger):  # made by hand, under our name
        return
    wanted = automation(within_s or found.within.total_seconds())
    assert isinstance(wanted.trigger, EventTrigger)
    terms = (found.after, found.expect, found.within)
    if terms != (wanted.trigger.after, wanted.trigger.expect, wanted.trigger.within):
        wanted.id = known[0].id
        wanted.update()


def _within(text: str) -> float:
    seconds = float(text)
    if not seconds >= LOWEST_WITHIN_S:
        raise argparse.ArgumentTypeError(
            f"{text} is too short: heartbeats come every {SECONDS_BETWEEN_HEARTBEATS:.0f} s; "
            f"expected at least {LOWEST_WITHIN_S:.0f}"
        )
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Mark silent runs on the server as crashed.")
    parser.add_argument(
        "--within",
        type=_within,
        metavar="SECONDS",
        help=f"silence after which a run counts as dead (default: {DEFAULT_WITHIN_S:.0f})",
    )
    ensure_automation(parser.parse_args().within)
