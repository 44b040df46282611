"""Long job as a flow run, with its own checkpoints: training, evaluation."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from nightrain.flows.observe.identity import Described
from nightrain.flows.runtime.progress import Progress
from nightrain.flows.runtime.session import OnStep, Session, end_of
from nightrain.pipelines.runs.stop import Stop


class LongJobReport(Protocol):
    """Report of a long job: a pydantic model of a few numbers and paths, never arrays."""

    @property
    def stopped(self) -> bool:
        """Whether the job was stopped before it finished."""
        ...

    @property
    def line(self) -> str:
        """Summary in one line."""
        ...

    def model_dump(self, *, mode: str) -> Mapping[str, Any]:
        """Return the fields by name."""
        ...


Report = TypeVar("Report", bound=LongJobReport, covariant=True)


class LongJob(Protocol[Report]):
    """Work that counts its steps, checks the stop flag between them, and keeps checkpoints."""

    def __call__(self, *, stop: Stop, on_step: OnStep) -> Report:
        """Resume from the last checkpoint, and run to the end or until a stop is requested."""
        ...


def run_long_job(job: Described, work: LongJob[LongJobReport], what: str) -> State:
    """Run a long job in the current flow run; return its final state.

    It waits between two steps while the run is paused. `what` is the name of the artifacts
    ("teacher"). Ends as Completed with the report's line, Failed with the message
    of a NightrainError, or Cancelled after a signal.
    """

    def run(here: Session[LongJobReport]) -> LongJobReport:
        progress = Progress(f"{what}-steps", f"Steps done of {what}")

        def on_step(done: int, total: int) -> None:
            here.stop.wait_while_paused()
            progress.show(done / total)
            here.on_step(done, total)

        report = work(stop=here.stop, on_step=on_step)
        create_table_artifact(table=[dict(report.model_dump(mode="json"))], key=what)
        return report

    return end_of(job, run, _state)


def _state(report: LongJobReport) -> State:
    if report.stopped:
        return Cancelled(
            message="Stopped on request; run the same job again to resume from its checkpoint."
        )
    return Completed(message=report.line)
