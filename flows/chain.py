"""The flow `chain`: several jobs one after the other, such as ingest, generate, label, verify.

Every step is a subflow run. A step that does not end as Completed ends the chain, and the next run
of the chain resumes it, because every step makes only what is missing. A completed chain that
committed rows emits the event `nightrain.dataset.grown` once more, with the rows of all its steps.

Text in a step's job may contain variables, which are replaced where the chain runs, so that every
worker has paths of its own: `$NIGHTRAIN_DATA/shards` or `${NIGHTRAIN_DATA}/shards`. Names that do
not begin with NIGHTRAIN_ stay as they are, because a job on a server must not read passwords.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed
from pydantic import BaseModel, Field, ValidationError

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.validation import Settings, problems
from nightrain.flows.observe.events import quarantine_exceeded, rows_committed, rows_of
from nightrain.flows.runtime.failure import flow_settings, without_retries
from nightrain.flows.runtime.session import Session, end_of
from nightrain.flows.train import flow_of
from nightrain.pipelines.depth.train_job import TrainJob

FLOWS = {  # by command
    "ingest": "nightrain.flows.ingest:ingest_frames",
    "caption": "nightrain.flows.caption:caption_frames",
    "controls": "nightrain.flows.controls:make_control_maps",
    "generate": "nightrain.flows.generate:generate_variants",
    "label": "nightrain.flows.label:label_depth",
    "verify": "nightrain.flows.verify:verify_dataset",
    "report": "nightrain.flows.report:report_dataset",
    "drift": "nightrain.flows.report:drift_of_variants",
    "train": "nightrain.flows.train:train_network",  # or the flow of its role: see `flow_of`
}
VARIABLE = re.compile(r"\$(?:(NIGHTRAIN_\w+)|\{(NIGHTRAIN_\w+)\})")
RUN_TIME = "NIGHTRAIN_RUN_TIME"  # time for which the run was scheduled, such as 2026-11-28-0200


class Step(Settings):
    """A step of a chain: a command, and the job that its flow takes."""

    command: str = Field(description="Command", examples=list(FLOWS))
    job: dict[str, Any] = Field(description="Job of the command's flow")

    def flow(self) -> Flow[..., Any]:
        """Import and return the flow; raises InvalidRequest."""
        if self.command not in FLOWS:
            raise InvalidRequest(f"There is no step {self.command!r}; expected {', '.join(FLOWS)}.")
        return resolve_name(FLOWS[self.command])

    def parsed_job(self, variables: Mapping[str, str] | None = None) -> BaseModel:
        """Return the job of the step's flow, with its variables replaced; raises InvalidRequest.

        `variables` are those of the environment by default.
        """
        model: type[BaseModel] = get_type_hints(self.flow().fn)["job"]
        job = with_variables(self.job, os.environ if variables is None else variables)
        if job.get("dataset") == "":  # Prefect inserts nothing for a variable that is not set
            raise InvalidRequest(
                f"The step {self.command!r} has an empty dataset folder. Set the Prefect variable "
                "that prefect.yaml names, and deploy it again."
            )
        try:
            return model.model_validate(job)
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
    rows: dict[Path, Counter[str]] = {}
    variables = os.environ | run_variables()
    for number, step in enumerate(job.steps, 1):
        parsed = step.parsed_job(variables)
        each = flow_of(parsed) if isinstance(parsed, TrainJob) else step.flow()
        dataset: Path = parsed.model_dump(include={"dataset"})["dataset"].resolve()
        inner = here.inner()
        state = inner.run(each, parsed)
        if here.stop.requested or state.is_cancelled():
            return ChainReport(stopped=True, done=tuple(done))
        if not state.is_completed():
            if over_limit := getattr(inner.report, "over_limit", ""):
                quarantine_exceeded(dataset, over_limit, "chain")
            if over_limit or isinstance(inner.error, NightrainError):  # it would fail again
                without_retries()
            failed = f"step {number} of {len(job.steps)}, {each.name}: {state.message}"
            return ChainReport(failed=failed, done=tuple(done))
        rows.setdefault(dataset, Counter()).update(rows_of(inner.report))
        done.append(f"{each.name}: {state.message}")
    for dataset, counts in rows.items():
        rows_committed(dataset, counts, "chain")
    return ChainReport(done=tuple(done))


def run_variables() -> dict[str, str]:
    """Return variables of the current flow run; a retry of the run has the same."""
    here = FlowRunContext.get()
    if here is None or here.flow_run is None or here.flow_run.expected_start_time is None:
        return {}
    return {RUN_TIME: f"{here.flow_run.expected_start_time:%Y-%m-%d-%H%M}"}


def with_variables(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a job's value with its variables replaced; raises InvalidRequest for an unset one."""
    if isinstance(value, dict):
        return {name: with_variables(each, variables) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_variables(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not (found := variables.get(name, "")):
            raise InvalidRequest(
                f"{value!r} needs the environment variable {name}, which is not set on this "
                f"machine. Set it where the worker starts: `export {name}=/path`."
            )
        return found

    return VARIABLE.sub(replace, value)


def _state(report: ChainReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request; run the same job again to resume.")
    if report.failed:
        return Failed(message=report.failed)
    return Completed(message="; ".join(report.done))
