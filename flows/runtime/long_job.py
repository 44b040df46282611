"""A flow run that is one long job with checkpoints of its own: training, evaluation."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from nightrain.flows.runtime.progress import Progress
from nightrain.flows.runtime.session import OnStep, Session, end_of
from nightrain.pipelines.runs.stop import Stop


class LongJobReport(Protocol):
    """What a long job gives: a pydantic model of a few numbers and paths, never arrays."""

    @property
    def stopped(self) -> bool:
        """Whether it ended early, on request."""
        ...

    @property
    def line(self) -> str:
        """What was done, in one line."""
        ...

    def model_dump(self, *, mode: str) -> Mapping[str, Any]:
        """The fields by name."""
        ...


Report = TypeVar("Report", bound=LongJobReport, covariant=True)


class LongJob(Protocol[Report]):
    """Work that counts its steps, looks at the stop flag between them, and keeps checkpoints."""

    def __call__(self, *, stop: Stop, on_step: OnStep) -> Report:
        """Go on from the last checkpoint to the end, or to where it is asked to stop."""
        ...


def run_long_job(job: LongJob[LongJobReport], what: str) -> State:
    """Run a long job in the flow run that this is called in; gives its final state.

    `what` names the artifacts ("teacher"). Completed with the report's line, Cancelled where a
    signal stopped it, Failed with the sentence of an error that was foreseen.
    """

    def work(here: Session[LongJobReport]) -> LongJobReport:
        progress = Progress(f"{what}-steps", f"Steps done of {what}")

        def on_step(done: int, total: int) -> None:
            progress.show(done / total)
            here.on_step(done, total)

        report = job(stop=here.stop, on_step=on_step)
        create_table_artifact(table=[dict(report.model_dump(mode="json"))], key=what)
        return report

    return end_of(work, _state)


def _state(report: LongJobReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request; the same job goes on from its checkpoint.")
    return Completed(message=report.line)
