"""Silent runs: an automation that marks a run as crashed after its process or machine has died.

Every flow run of this package sends a heartbeat event each half minute (control.py). Workers report
a killed process on their own; the automation is for those that died with their worker.

    python -m nightrain.flows.runtime.silent_runs    # creates the automation, once per server
"""

from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from nightrain.flows.runtime.control import HEARTBEAT

NAME = "nightrain: crash silent runs"
WITHIN = timedelta(seconds=120)  # four heartbeats
# States after which no heartbeat is expected; Skipped is a name of ours for a completed run.
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


def automation() -> Automation:
    """Return the automation: a heartbeat must be followed by another one, or by an end."""
    return Automation(
        name=NAME,
        description="Mark a flow run as Crashed when its heartbeats stop before its end.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{name}" for name in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=WITHIN,
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


def ensure_automation() -> None:
    """Create the automation on the server, unless there is one of that name."""
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(NAME)
    if not known:
        automation().create()


if __name__ == "__main__":
    ensure_automation()
