"""The command `report`: a dataset as one HTML file."""

from nightrain.flows.cli.console import console, print_json, progress_bar
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.report.job import ReportJob


@command
def report(job: ReportJob, output: OutputOptions) -> None:
    """Write one HTML file with a dataset's counts, plots, pictures, failures and rights.

    It needs no network and no other file. For each table of variants it shows evenly spaced ones,
    those with the lowest and highest scores of each gate, and those that were rejected, by reason.
    """
    from nightrain.pipelines.inspect.verify_job import require_dataset
    from nightrain.pipelines.report.job import write_report

    require_dataset(job.dataset)
    with progress_bar("tables", shown=not output.as_json) as bar:
        written = write_report(job, bar.reach)
    if output.as_json:
        print_json(written)
    else:
        console().print(written.line, markup=False, highlight=False)
