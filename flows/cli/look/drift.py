"""The command `drift`: whether variants differ from those that were made before."""

from nightrain.flows.cli.console import EXIT_INCOMPLETE, console, end, print_json, progress_bar
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.drift.job import DriftJob, DriftReport

MOST_SHOWN = 12


@command
def drift(job: DriftJob, output: OutputOptions) -> None:
    """Compare a recipe's variants with earlier ones, with recorded frames or with another recipe.

    Luminance, colour, detail, severity, physical values and gate scores are compared by the
    distance of their distributions. The exit code is 3 where one is beyond --most and not by
    chance.
    """
    from nightrain.pipelines.drift.job import measure_drift
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    with progress_bar("conditions", shown=not output.as_json) as bar:
        report = measure_drift(job, bar.reach)
    if output.as_json:
        print_json(report)
    else:
        _print(report)
    end(EXIT_INCOMPLETE if report.drifted else 0)


def _print(report: DriftReport) -> None:
    from rich.table import Table

    out = console()
    table = Table(box=None, pad_edge=False)
    for name in ("condition", "measure"):
        table.add_column(name)
    for name in ("median", report.against, "distance", "p"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in report.measures[:MOST_SHOWN]:
        table.add_row(
            one.condition,
            one.measure,
            f"{one.median:.4g}",
            f"{one.median_against:.4g}",
            f"{one.distance:.2f}",
            f"{one.p:.2g}",
            "drifted" if one.drifted else "",
        )
    out.print(table, markup=False)
    for words in report.left_out.values():
        out.print(f"left out {words}", markup=False, highlight=False)
    more = len(report.measures) - MOST_SHOWN
    rest = f", and {more} more with smaller distances (--json lists all)" if more > 0 else ""
    num = len(report.drifted)
    out.print(
        f"{num} of {len(report.measures)} measures beyond {report.most:g}{rest}",
        markup=False,
        highlight=False,
    )
