"""The command `browse`: a local web page to look through a dataset."""

from nightrain.flows.cli.console import console, progress_bar
from nightrain.flows.cli.options import command
from nightrain.pipelines.browse.job import BrowseJob

MOST_SHOWN = 5


@command
def browse(job: BrowseJob) -> None:
    """Look through a dataset on a local web page: filter, compare, chart and review.

    The page shows clear frames, variants and what was rejected, and records verdicts as
    `nightrain review` does. It needs no network. Press Ctrl+C to end it.
    """
    from nightrain.pipelines.browse.app import make_app
    from nightrain.pipelines.browse.live import LiveSamples
    from nightrain.pipelines.browse.server import listen, serve
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    listening = listen(job.host, job.port)
    with progress_bar("files", shown=True) as bar:
        live = LiveSamples(job.dataset, job.reviewer, bar.reach)
    index, out = live.now().samples, console()
    for path, problem in list(index.problems.items())[:MOST_SHOWN]:
        out.print(f"left out {path}: {problem}", markup=False, highlight=False)
    if len(index.problems) > MOST_SHOWN:
        out.print(f"and {len(index.problems) - MOST_SHOWN} more; the page lists all")
    out.print(f"{len(index)} samples; open {listening.address}", markup=False, highlight=False)
    out.print("Press Ctrl+C to end.")
    serve(make_app(live, listening.access), listening)
