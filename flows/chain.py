"""The flow `chain`: several jobs one after the other, such as ingest, generate, label, verify.

Every step is a subflow run. A step that does not end as Completed ends the chain, and the next run
of the chain resumes it, because every step makes only what is missing.
"""

from pkgutil import resolve_name
from typing import Any, get_type_hints

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from pydantic import BaseModel, Field, ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings, problems
from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.session import Session, end_of

FLOWS = {  # by command
    "ingest": "nightrain.flows.ingest:ingest_frames",
    "caption": "nightrain.flows.caption:caption_frames",
    "controls": "nightrain.flows.controls:make_control_maps",
    "generate": "nightrain.flows.generate:generate_variants",
    "label": "nightrain.flows.label:label_depth",
    "verify": "nightrain.flows.verify:verify_dataset",
}


class Step(Settings):
    """A step of a chain: a command, and the job that its flow takes."""

    command: str = Field(description="Command", examples=list(FLOWS))
    job: dict[str, Any] = Field(description="Job of the command's flow")

    def flow(self) -> Flow[..., Any]:
        """Import and return the flow; raises InvalidRequest."""
        if self.command not in FLOWS:
            raise InvalidRequest(f"There is no step {self.command!r}; expected {', '.join(FLOWS)}.")
        return resolve_name(FLOWS[self.command])

    def parsed_job(self) -> BaseModel:
        """Return the job of the step's flow; raises InvalidRequest."""
        model: type[BaseModel] = get_type_hints(self.flow().fn)["job"]
        try:
            return model.model_validate(self.job)
        except ValidationError as error:
            found = "; ".join(problems(model, error))
            raise InvalidRequest(f"The step {self.command!r} is not valid: {found}.") from error


class ChainJob(Settings):
    """Parameters of the flow `chain`."""

    steps: tuple[Step, ...] = Field(min_length=1, description="Steps, in order")

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "ingest, generate, verify"."""
        return ", ".join(self.tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: its commands."""
        return tuple(step.command for step in self.steps)


class ChainReport(BaseModel):
    """Outcome of a chain: what each step said, and the step that ended it early, if any."""

    stopped: bool = False
    failed: str = ""
    done: tuple[str, ...] = ()


@flow(name="chain", **flow_settings())
def chain(job: ChainJob) -> State:
    """Run the steps one after the other, each as a subflow, up to the first that fails."""
    return end_of(job, lambda here: _run_steps(job, here), _state)


def _run_steps(job: ChainJob, here: Session[ChainReport]) -> ChainReport:
    done: list[str] = []
    for number, step in enumerate(job.steps, 1):
        each = step.flow()
        state = here.inner().run(each, step.parsed_job())
        if here.stop.requested or state.is_cancelled():
            return ChainReport(stopped=True, done=tuple(done))
        if not state.is_completed():
            failed = f"step {number} of {len(job.steps)}, {each.name}: {state.message}"
            return ChainReport(failed=failed, done=tuple(done))
        done.append(f"{each.name}: {state.message}")
    return ChainReport(done=tuple(done))


def _state(report: ChainReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request; run the same job again to resume.")
    if report.failed:
        return Failed(message=report.failed)
    return Completed(message="; ".join(report.done))
