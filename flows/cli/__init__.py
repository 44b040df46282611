"""The command line `nightrain`: a table of commands, each imported on use."""

from typing import Any

import click

from nightrain.flows.cli.console import EXIT_CODES
from nightrain.flows.cli.failure import is_broken_pipe, print_warnings, report_failure
from nightrain.flows.cli.group import LazyGroup


class Nightrain(LazyGroup):
    """Root command; every error becomes one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print an error in one sentence and exit with its code."""
        print_warnings()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if is_broken_pipe(error):
                raise
            ctx.exit(report_failure(error, show_traceback=ctx.params["traceback"]))


app = Nightrain(
    "nightrain",
    help="Night, rain, snow and fog variants of clear driving frames, in Parquet shards.",
    epilog=EXIT_CODES,
    params=[
        click.Option(
            ["--traceback"],
            is_flag=True,
            envvar="NIGHTRAIN_TRACEBACK",
            help="Print the traceback of an error, as with NIGHTRAIN_TRACEBACK=1",
        )
    ],
    commands_at={
        "demo": (
            "demo",
            "Run the whole pipeline on the built-in world, offline, in a few minutes.",
        ),
        "world": (
            "ingest",
            "Render the built-in driving world: streets in all weathers, with exact depth.",
        ),
        "ingest": ("ingest", "Read the frames of a data set into a dataset of shards."),
        "protocol": (
            "protocols",
            "Compare a local data set's counts with those of a published protocol.",
        ),
        "leakage": ("protocols", "Find train scenes, logs and images that recur in val or test."),
        "recipe": ("recipes", "List, show, compare, check and start recipes."),
        "plan": (
            "generation",
            "Estimate a recipe's images, disk space and time from a short calibration.",
        ),
        "preview": (
            "generation",
            "Write a contact sheet: clear image, depth and each condition of a recipe.",
        ),
        "generate": ("generation", "Generate the variants of a recipe."),
        "import-variants": (
            "generation",
            "Make variants of pictures that another program translated.",
        ),
        "regate": (
            "gates.regate",
            "Apply other limits of gates to the variants that exist.",
        ),
        "audit-gates": (
            "gates.audit",
            "Count good variants, and those with a seeded defect, that gates reject.",
        ),
        "compare-variants": (
            "gates.compare",
            "Compare the variants of a recipe with each other.",
        ),
        "review": ("gates.review", "Record a person's verdict on a variant."),
        "replay": ("generation", "Generate a committed variant again and compare the bytes."),
        "caption": (
            "annotation",
            "Caption each frame with one sentence, for recipes with a captioner.",
        ),
        "styles": (
            "annotation",
            "Make a style pool: a dataset's own real night and rain train images.",
        ),
        "controls": ("annotation", "Make a depth network's control maps, one per frame."),
        "label": ("annotation", "Predict depth and confidence of clear frames with a teacher."),
        "train": ("training", "Train a depth network from a preset."),
        "preset": (
            "training",
            "Print a preset's complete configuration as YAML, or the names of all presets.",
        ),
        "predict": (
            "look.predict",
            "Predict the depth of pictures, folders of pictures and videos.",
        ),
        "evaluate": ("training", "Score a depth model by condition."),
        "usefulness": ("training", "Compare students trained with and without variants."),
        "verify": ("inspection", "Re-hash every committed file and read every page."),
        "repair": (
            "upkeep.repair",
            "Find damaged, lost and unaccounted files, and bring the dataset to a valid state.",
        ),
        "prune": (
            "upkeep.prune",
            "Remove variants, labels, captions, control maps or the quarantine, if no longer "
            "needed.",
        ),
        "upgrade": (
            "upkeep.upgrade",
            "Bring a dataset of an earlier nightrain to today's columns and layout.",
        ),
        "stats": (
            "look.stats",
            "Count and measure a dataset: sources, luminance, severity, physical values, depth.",
        ),
        "report": (
            "look.report",
            "Write one HTML file with a dataset's counts, plots, pictures, failures and rights.",
        ),
        "browse": (
            "look.browse",
            "Look through a dataset on a local web page: filter, compare, chart and review.",
        ),
        "drift": (
            "look.drift",
            "Compare a recipe's variants with earlier ones, with recorded frames or with another "
            "recipe.",
        ),
        "sql": (
            "look.sql",
            "Query a dataset with SQL: frames, variants, labels, quarantine, reviews, shards and "
            "runs.",
        ),
        "runs": (
            "look.runs",
            "List the runs that made a dataset, newest last: who, when, what, how much and how "
            "fast.",
        ),
        "card": (
            "share.card",
            "Write a dataset's card, README.md, and its Croissant metadata, croissant.json.",
        ),
        "export": (
            "share.export",
            "Write datasets and networks in the formats of other tools.",
        ),
        "upload": (
            "share.upload",
            "Send a dataset to the Hugging Face hub, with its card and licence.",
        ),
        "schedule": (
            "server.schedule",
            "Run commands on a schedule: from this process, or by the workers of a work pool.",
        ),
        "deploy": (
            "server.deploy",
            "Deploy the nightly run, weekly report and training of a dataset to a work pool.",
        ),
        "serve": (
            "server.deploy",
            "Run the nightly run, weekly report and training of a dataset from this process.",
        ),
        "doctor": (
            "server.doctor",
            "Check packages, GPU, free disk space and Prefect, and say how to fix problems.",
        ),
    },
)

click.version_option(package_name="nightrain", message="nightrain %(version)s")(app)


def main() -> None:
    """Run the command line."""
    app(prog_name="nightrain")
