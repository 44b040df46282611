"""Session: state that a flow run shares with its caller in the same process, and its final state.

The stop flag, progress callbacks, report and error stay in the process. The server receives only
small artifacts, a state and one sentence.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.flows.observe.identity import Described, add_tags
from nightrain.flows.observe.run_log import hide_expected_ends, logs_in_run
from nightrain.flows.runtime.control import controlled_by_server, without_slow_heartbeats
from nightrain.flows.runtime.failure import without_retries
from nightrain.pipelines.runs.stop import Stop, stop_on_signals

Report = TypeVar("Report")
OnStep = Callable[[int, int], None]  # steps done, steps in all
OnStage = Callable[[str, object], None]  # name of the subflow; None as it begins, then its report


def ignore_steps(_done: int, _total: int) -> None:
    """Ignore the progress of steps."""


def ignore_stage(_name: str, _report: object) -> None:
    """Ignore stages."""


@dataclass
class Session(Generic[Report]):
    """Stop flag, callbacks and report that a caller shares with a flow run."""

    stop: Stop = field(default_factory=Stop)
    on_planned: OnRows = ignore_rows
    on_rows: OnRows = ignore_rows
    on_step: OnStep = ignore_steps
    on_stage: OnStage = ignore_stage
    report: Report | None = None
    error: Exception | None = None

    def inner(self) -> "Session[Any]":
        """Session of a subflow: the same stop flag and callbacks, but a report of its own."""
        return replace(self, on_stage=ignore_stage, report=None, error=None)

    def run(self, flow: Flow[..., Any], job: object) -> State:
        """Run a flow on a job in this process with this session; return its final state."""
        token = _session.set(self)
        try:
            # The caller is there to run the job again, so that a failure is reported at once.
            with without_slow_heartbeats():
                return flow.with_options(retries=0)(job, return_state=True)
        finally:
            _session.reset(token)


_session: ContextVar[Session[Any] | None] = ContextVar("session", default=None)


def run_in_process(session: Session[Report], flow: Flow[..., Any], job: object) -> Report:
    """Run a flow in this process and return its job's report; raises whatever the job raises."""
    state = session.run(flow, job)
    if session.error is not None:
        raise session.error
    if session.report is None:
        raise RuntimeError(f"the flow run ended before the job began: {state}")
    return session.report


def end_of(
    job: Described, work: Callable[[Session[Report]], Report], state: Callable[[Report], State]
) -> State:
    """Run the body of a flow on a job and return its final state.

    A NightrainError becomes a Failed state with its message, and is not retried; any other
    exception is re-raised, and Prefect keeps its traceback.
    """
    here = _session.get() or Session()
    hide_expected_ends()
    add_tags(job)
    try:
        # Prefect turns SIGTERM into a crash of the flow; here the current batch ends first.
        with logs_in_run(), stop_on_signals(here.stop), controlled_by_server(here.stop):
            here.report = work(here)
    except Exception as error:
        here.error = error
        if isinstance(error, NightrainError):
            without_retries()
            return Failed(message=str(error))
        raise
    return state(here.report)
