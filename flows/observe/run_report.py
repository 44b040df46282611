"""Run report: a Markdown artifact with counts, rates, disk space, reasons and a contact sheet."""

import base64
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from nightrain.datasets.errors import Reason
from nightrain.datasets.io.atomic import free_bytes
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.flows.observe.identity import Described
from nightrain.pipelines.inspect.run_sheet import run_sheet
from nightrain.pipelines.runs.run import RunReport

SHEET_QUALITY = 75
logger = logging.getLogger(__name__)


def publish_report(job: Described, dataset: Path, report: RunReport, key: str) -> None:
    """Publish the report of a run of shards; if that fails, log it and continue."""
    try:
        markdown = "\n\n".join(report_sections(job, dataset, report))
        named = key.replace(" ", "-")  # keys have neither spaces nor capitals
        create_markdown_artifact(markdown, key=named, description=f"{job.title}, {dataset}")
    except Exception as error:  # a report must not end hours of work
        logger.warning("the report was not published: %s: %s", type(error).__name__, error)


def report_sections(job: Described, dataset: Path, report: RunReport) -> Iterator[str]:
    """Yield the sections of a report in Markdown."""
    yield f"# {job.title}"
    yield _outcome(report)
    if report.tables:
        yield _counts(report)
    if report.num_quarantined:
        yield _reasons(report)
    yield _facts(job, dataset, report)
    sheet = run_sheet(
        Manifest(dataset), {n: t.latest for n, t in report.tables.items() if t.latest is not None}
    )
    if sheet is not None:
        data = base64.b64encode(encode_jpeg(sheet, SHEET_QUALITY)).decode()
        yield f"![The latest committed images](data:image/jpeg;base64,{data})"


def _outcome(report: RunReport) -> str:
    if report.stopped:
        return "Stopped on request; run the same job again to resume."
    if report.not_started:
        return report.not_started
    if report.failed:
        failures = "\n".join(f"- {failure}" for failure in report.failed[:20])
        return f"**{len(report.failed)} shards failed:**\n\n{failures}"
    if report.over_limit:
        return f"**Too many rows in quarantine.** {report.over_limit}"
    if report.budget_spent:
        return report.budget_spent
    return f"{report.num_rows} rows committed, {report.num_quarantined} quarantined."


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _counts(report: RunReport) -> str:
    rows = []
    for name, table in (report.inputs | report.tables).items():
        rate = table.num_rows / table.seconds if table.seconds else 0.0
        quarantined = sum(table.quarantined.values())
        megabytes = f"{table.num_bytes / 1e6:.1f}"
        rows.append((name, table.num_shards, table.num_rows, quarantined, f"{rate:.1f}", megabytes))
    return markdown_table(("table", "shards", "rows", "quarantined", "rows/s", "MB"), rows)


def _reasons(report: RunReport) -> str:
    lines = ["| quarantined from | reason | rows | meaning |", "|---|---|--:|---|"]
    for name, table in report.tables.items():
        for reason, count in table.quarantined.items():
            words = Reason(reason).words if reason in set(Reason) else ""
            lines.append(f"| {name} | {reason} | {count} | {words} |")
    return "\n".join(lines)


def _facts(job: Described, dataset: Path, report: RunReport) -> str:
    written = sum(table.num_bytes for table in report.tables.values())
    lines = [
        f"- dataset: `{dataset}`",
        f"- disk: {written / 1e6:.1f} MB written, {free_bytes(dataset) / 1e9:.1f} GB free",
        f"- shards committed before this run: {report.num_already}",
    ]
    if recipe_hash := getattr(job, "recipe_hash", ""):
        lines.append(f"- recipe hash: `{recipe_hash}`")
    lines += [f"- left out: {count} {reason}" for reason, count in report.skipped.items()]
    lines += [f"- warning: {warning}" for warning in report.warnings]
    return "\n".join(lines)
