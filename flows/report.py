"""The flows `write-report` and `measure-drift`: what a dataset holds, and whether it changes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards.manifest import Manifest, last_attempts
from nightrain.flows.observe.run_report import markdown_table
from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.flows.runtime.session import OnStep, Session, end_of
from nightrain.pipelines.drift.job import (
    DriftJob,
    DriftReport,
    NothingToCompare,
    measure_drift,
)
from nightrain.pipelines.inspect.verify_job import require_dataset
from nightrain.pipelines.report.job import ReportJob, Written, write_report
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, unless_stopped

MOST_MEASURES = 20


class VariantsDrifted(NightrainError):
    """Variants differ from those that they were compared with by more than the limit."""


@flow(name="write-report", **flow_settings())
def report_dataset(job: ReportJob) -> State:
    """Write a dataset's report as an HTML file, and its main numbers as an artifact of the run."""
    return run_long_job(job, partial(_report, job), "report")


@flow(name="measure-drift", **flow_settings())
def drift_of_variants(job: DriftJob) -> State:
    """Compare variants with others; ends as Failed if a measure drifted.

    Ends as Skipped, which is a completed state, as long as there is nothing to compare with.
    """
    return end_of(job, lambda here: _drift(job, here), _state_of_drift)


def _report(job: ReportJob, *, stop: Stop, on_step: OnStep) -> Written:
    require_dataset(job.dataset)
    try:
        written = write_report(job, unless_stopped(stop, on_step))
    except WorkCancelled:
        return Written(out=str(job.out), num_bytes=0, num_pictures=0, stopped=True)
    markdown = "\n\n".join(_report_sections(job, written))
    create_markdown_artifact(markdown, key="dataset-report", description=f"{job.title}: {job.out}")
    return written


def _report_sections(job: ReportJob, written: Written) -> Iterator[str]:
    manifest = Manifest(job.dataset)
    yield f"# {job.title}"
    yield f"The report is the file `{Path(written.out).absolute()}`. {written.line}."
    rows = []
    for table in manifest.tables():
        entries = manifest.entries(table)
        num_bytes = sum(entry.rows.num_bytes for entry in entries)
        bad = sum(sum(entry.counts.values()) for entry in last_attempts(entries))
        num_rows = sum(entry.rows.num_rows for entry in entries)
        rows.append((table, len(entries), num_rows, bad, f"{num_bytes / 1e6:.1f}"))
    yield markdown_table(("table", "shards", "rows", "quarantined", "MB"), rows)


def _drift(job: DriftJob, here: Session[DriftReport]) -> DriftReport:
    require_dataset(job.dataset)
    try:
        report = measure_drift(job, unless_stopped(here.stop, here.on_step))
    except WorkCancelled:
        return DriftReport(against=job.against, most=job.most, stopped=True)
    except NothingToCompare as error:
        return DriftReport(against=job.against, most=job.most, not_started=str(error))
    table = markdown_table(
        ("measure", "median", report.against, "distance", ""),
        [
            (
                f"{one.condition} {one.measure}",
                f"{one.median:.4g}",
                f"{one.median_against:.4g}",
                f"{one.distance:.2f}",
                "drifted" if one.drifted else "",
            )
            for one in report.measures[:MOST_MEASURES]
        ],
    )
    create_markdown_artifact(f"# {job.title}\n\n{report.line}\n\n{table}", key="drift-of-variants")
    if report.drifted:
        raise VariantsDrifted(f"Variants drifted against {report.against}: {report.line}.")
    return report


def _state_of_drift(report: DriftReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request.")
    if report.not_started:
        return Completed(name="Skipped", message=report.not_started)
    return Completed(message=report.line)
