"""Failures of flow runs: retries, and the function that a user names in NIGHTRAIN_ON_FAILURE.

A flow run that ends in an unforeseen error or with failed shards is run again by Prefect, where a
deployment started it; what is committed stays. An error that this project raises on purpose, such
as an invalid recipe, would fail again and is not retried.
"""

import os
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.flows import Flow
from prefect.states import AwaitingRetry

from nightrain.datasets.errors import InvalidRequest
from nightrain.flows.observe.identity import run_name
from nightrain.flows.runtime.heartbeat import report_end

ON_FAILURE = "NIGHTRAIN_ON_FAILURE"  # environment variable: "package.module:function"
RETRIES = 2
RETRY_DELAY_SECONDS = 60
Hook = Callable[[Flow[..., Any], FlowRun, State], object]


def failure_hook(name: str) -> Hook:
    """Return the function "package.module:function", to call with (flow, flow run, state).

    Raises InvalidRequest if it does not exist or cannot be called.
    """
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequest(
            f"{ON_FAILURE}={name} was not found: {error}. Expected package.module:function of an "
            "importable module; the function is called with the flow, the flow run and its state."
        ) from error
    if not callable(found) or ":" not in name:
        raise InvalidRequest(
            f"{ON_FAILURE}={name} is not a function; expected package.module:function."
        )
    return found


def call_failure_hook(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Call the user's function after a failed or crashed run."""
    failure_hook(os.environ[ON_FAILURE])(flow, flow_run, state)


def run_again(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Schedule a crashed run of a deployment again, at most RETRIES times.

    Prefect's own retries are for failed runs only, not for those that the server could not be
    reached for at their start, or that were killed.
    """
    if flow_run.deployment_id is None:
        return
    report_end(flow_run)  # its process could not; until the retry, there are no heartbeats
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run.id)
        if sum(state.is_crashed() for state in states) <= RETRIES:
            client.set_flow_run_state(flow_run.id, _later(), force=True)


def _later() -> State:
    from datetime import timedelta

    from prefect.types._datetime import now

    return AwaitingRetry(scheduled_time=now("UTC") + timedelta(seconds=RETRY_DELAY_SECONDS))


def flow_settings() -> dict[str, Any]:
    """Return what all flows share: name, retries and hooks; raises InvalidRequest."""
    hooks: list[Hook] = []
    if name := os.environ.get(ON_FAILURE):
        failure_hook(name)  # a wrong name is an error before the first failure
        hooks.append(call_failure_hook)
    return {
        "flow_run_name": run_name,
        "persist_result": False,
        "retries": RETRIES,
        "retry_delay_seconds": RETRY_DELAY_SECONDS,
        "on_failure": hooks,
        "on_crashed": [*hooks, run_again],
    }


def without_retries() -> None:
    """Let the current flow run fail at its first failure."""
    here = FlowRunContext.get()
    if here is None or here.flow_run is None or not here.flow_run.empirical_policy.retries:
        return
    policy = here.flow_run.empirical_policy.model_copy(update={"retries": 0})
    with get_client(sync_client=True) as client:
        client.update_flow_run(here.flow_run.id, empirical_policy=policy)
