"""The command line `nightrain`: what is slow to import is imported in the command that needs it."""

import sys

import typer

from nightrain.flows.cli import (
    captions,
    demo,
    doctor,
    evaluation,
    generation,
    ingest,
    inspection,
    labels,
    protocols,
    training,
    usefulness,
)
from nightrain.flows.cli import world as data
from nightrain.flows.cli.console import EXIT_CODES, fail

app = typer.Typer(
    name="nightrain",
    help="Night, rain, snow and fog variants of clear driving frames, in Parquet shards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EXIT_CODES,
)
app.command("demo")(demo.demo)
app.command("world")(data.world)
app.add_typer(ingest.app, name="ingest")
app.add_typer(protocols.app, name="protocol")
app.command("leakage")(protocols.leakage)
app.command("plan")(generation.plan)
app.command("preview")(generation.preview)
app.command("generate")(generation.generate)
app.command("replay")(generation.replay)
app.command("caption")(captions.caption)
app.command("label")(labels.label)
app.command("train")(training.train)
app.command("evaluate")(evaluation.evaluate)
app.command("usefulness")(usefulness.usefulness)
app.command("verify")(inspection.verify)
app.command("stats")(inspection.stats)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a command; a failure that the project foresaw is one clear sentence and an exit code."""
    from nightrain.datasets.errors import NightrainError

    try:
        app()
    except NightrainError as error:
        sys.exit(fail(error))
