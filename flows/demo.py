"""The flow `clear-to-table`: the demo as one flow run, with a subflow per stage.

python -m nightrain.flows.demo FOLDER
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Flow, flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import BaseModel

from nightrain.flows.evaluate import evaluate_depth
from nightrain.flows.generate import generate_variants
from nightrain.flows.ingest import ingest_frames
from nightrain.flows.label import label_depth
from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.session import Session, end_of, run_in_process
from nightrain.flows.train import train_student, train_teacher
from nightrain.flows.world import render_world
from nightrain.pipelines import demo
from nightrain.pipelines.demo import DemoReport
from nightrain.pipelines.demo_job import DemoJob

if TYPE_CHECKING:
    from nightrain.pipelines.demo import StageReport

SUBFLOWS: tuple[Flow[..., Any], ...] = (
    render_world,
    ingest_frames,
    generate_variants,
    train_teacher,
    label_depth,
    train_student,
    evaluate_depth,
)
BY_NAME = {subflow.name: subflow for subflow in SUBFLOWS}


@flow(name="clear-to-table", **flow_settings())
def clear_to_table(job: DemoJob) -> State:
    """Run the demo from an empty folder to a table of scores by condition, or resume it."""

    def work(here: Session[DemoReport]) -> DemoReport:
        report = demo.clear_to_table(job, partial(_run_subflow, here))
        if report.table is not None:
            create_markdown_artifact(report.table.markdown(), key="depth-by-condition")
        return report

    return end_of(job, work, _state)


def _run_subflow(here: Session[DemoReport], name: str, job: BaseModel) -> "StageReport":
    here.on_stage(name, None)
    inner: Session[StageReport] = here.inner()
    report = run_in_process(inner, BY_NAME[name], job)
    here.on_stage(name, report)
    return report


def _state(report: DemoReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request; run the same job again to resume.")
    return Completed(message="all stages finished")


if __name__ == "__main__":
    clear_to_table(DemoJob(out=Path(sys.argv[1])))
