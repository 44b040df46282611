"""The command `predict`: depth of pictures and videos."""

from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    end,
    print_json,
    progress_bar,
)
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.depth.predict_job import PredictJob
from nightrain.pipelines.runs.stop import Stop, stop_on_signals

MOST_SHOWN = 10


@command
def predict(job: PredictJob, output: OutputOptions) -> None:
    """Predict the depth of pictures, folders of pictures and videos.

    Files keep the names and folders of the pictures. Run the same command again to go on after an
    interruption. Pictures that cannot be read are listed, and the exit code is then 3.
    """
    from nightrain.pipelines.depth.predict_job import predict_pictures

    stop = Stop()
    with progress_bar("pictures", shown=not output.as_json) as bar, stop_on_signals(stop):
        report = predict_pictures(job, stop, on_planned=bar.expect, on_done=bar.add)
    if output.as_json:
        print_json(report)
    else:
        out = console()
        kept = f", {report.num_kept} were there" if report.num_kept else ""
        out.print(f"wrote the depth of {report.num_written} pictures to {report.out}{kept}")
        for source, reason in list(report.failed.items())[:MOST_SHOWN]:
            out.print(f"left out {source}: {reason}", markup=False, highlight=False)
        if len(report.failed) > MOST_SHOWN:
            out.print(f"and {len(report.failed) - MOST_SHOWN} more; --json lists all")
    end(stop.exit_code if report.stopped else EXIT_INCOMPLETE if report.failed else 0)
