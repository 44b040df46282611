"""Automations of the standard deployments: what the server does upon events of their runs.

    nightrain: NAME failed                a notification when a run failed or crashed
    nightrain: NAME quarantine exceeded   a notification when too many rows are in quarantine
    nightrain: NAME train-student         trains a student after a night with new variants

They are brought up to date by name each time, so that deploying twice changes nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import ActionTypes, RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.observe.events import DATASET_GROWN, QUARANTINE_EXCEEDED

PREFIX = "nightrain: "
FAILED, QUARANTINE, TRAINING = "failed", "quarantine exceeded", "train-student"
KINDS = (FAILED, QUARANTINE, TRAINING)
FAILURES = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}
OF_CHAIN = {"prefect.resource.id": "nightrain.dataset.*", "nightrain.flow": "chain"}


def automations(
    name: str,
    deployments: Sequence[UUID],
    *,
    block: UUID | None,
    nightly: UUID,
    student: UUID | None,
) -> Iterator[Automation]:
    """Yield the automations of a dataset's deployments: notices by a block, and training."""
    if block is not None:
        text = "{{ flow_run.state.message }}\n{{ flow_run | ui_url }}"
        told = SendNotification(
            block_document_id=block, subject=f"{name}: {{{{ flow_run.state.name }}}}", body=text
        )
        yield _automation(f"{name} {FAILED}", FAILURES, {}, deployments, told)
        told = SendNotification(
            block_document_id=block,
            subject=f"{name}: too many rows in quarantine",
            body="{{ event.payload.message }}",
        )
        yield _automation(
            f"{name} {QUARANTINE}", {QUARANTINE_EXCEEDED}, OF_CHAIN, deployments, told
        )
    if student is not None:
        with_variants = {**OF_CHAIN, "nightrain.rows.variants": "*"}
        training = RunDeployment(
            source="selected", deployment_id=student, parameters=None, job_variables=None
        )
        yield _automation(f"{name} {TRAINING}", {DATASET_GROWN}, with_variants, [nightly], training)


def _automation(
    name: str,
    events: set[str],
    match: dict[str, str],
    deployments: Sequence[UUID],
    action: ActionTypes,
) -> Automation:
    """React to every event of runs of the deployments; subflows have none."""
    related = {
        "prefect.resource.role": "deployment",
        "prefect.resource.id": [f"prefect.deployment.{found}" for found in deployments],
    }
    return Automation(
        name=f"{PREFIX}{name}",
        trigger=EventTrigger(
            expect=events,
            match=ResourceSpecification(match),  # type: ignore[arg-type]
            match_related=ResourceSpecification(related),  # type: ignore[arg-type]
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[action],
    )


def bring_up_to_date(name: str, wanted: Sequence[Automation]) -> None:
    """Create or update the automations of a name on the server, and delete those not wanted."""
    by_name = {automation.name: automation for automation in wanted}
    with get_client(sync_client=True) as client:
        for full_name in (f"{PREFIX}{name} {kind}" for kind in KINDS):
            known = client.read_automations_by_name(full_name)
            if full_name not in by_name:
                for found in known:
                    client.delete_automation(found.id)
            elif known:
                by_name[full_name].id = known[0].id
                by_name[full_name].update()
            else:
                by_name[full_name].create()


def notification_block(text: str) -> UUID:
    """Return the id of a block "TYPE/NAME"; raises InvalidRequest if the server has none."""
    kind, _, name = text.partition("/")
    with get_client(sync_client=True) as client:
        try:
            return client.read_block_document_by_name(name, kind).id
        except ObjectNotFound as error:
            raise InvalidRequest(
                f"The Prefect server has no block {text!r}; expected TYPE/NAME, such as "
                "slack-webhook/on-call. Create it in the dashboard under Blocks, or in Python: "
                "SlackWebhook(url=...).save('on-call')."
            ) from error
