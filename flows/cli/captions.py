"""The command `caption`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightrain.flows.cli.console import end, exit_code, one_of, print_json, print_run, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_flow, run_local, say_server

if TYPE_CHECKING:
    from prefect import Flow


def caption(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)],
    captioner: Annotated[
        str, typer.Option(help="blip2, small (two networks), or metadata: the source's own words")
    ] = "blip2",
    runner: Runner = "prefect",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Say in a sentence what each frame shows, once, for recipes with `captioner: ...`."""
    from nightrain.pipelines.captions.captioners import CAPTIONERS, CaptionerName
    from nightrain.pipelines.captions.job import CaptionJob
    from nightrain.pipelines.captions.job import caption as run
    from nightrain.pipelines.runs.stop import Stop

    check_mode(runner)
    chosen: CaptionerName = one_of("--captioner", captioner, CAPTIONERS)
    job, stop = CaptionJob(dataset=dataset.resolve(), captioner=chosen), Stop()
    job.plan()  # what is refused is said before a server is started
    if runner == "prefect" and not json:
        say_server("caption-frames")
    with progress_bar("captions", shown=not json) as bar:
        if runner == "local":
            report = run_local(partial(run, job), 1, stop, bar.add)
        else:
            report = run_flow(_flow, job, stop, bar.add)
    if json:
        print_json(report)
    else:
        print_run(report, "captions")
    end(exit_code(report, stop.exit_code))


def _flow() -> Flow[..., Any]:
    from nightrain.flows.caption import caption_frames

    return caption_frames
