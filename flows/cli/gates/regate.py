"""The command `regate`: applies other limits of gates."""

from nightrain.flows.cli.console import (
    console,
    end,
    exit_code,
    print_json,
    print_run,
    progress_bar,
)
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.regate.job import RegateJob
from nightrain.pipelines.runs.stop import Stop, stop_on_signals


@command
def regate(job: RegateJob, output: OutputOptions) -> None:
    """Apply other limits of gates to the variants that exist.

    Takes the stored scores and pictures of variants whose recipe differs in its gates alone, and
    commits them as those of RECIPE: nothing is generated. What the limits reject goes to
    quarantine; `nightrain generate --retry-failed` tries other seeds for it.
    """
    from nightrain.pipelines.regate.job import regate as regate_variants
    from nightrain.pipelines.runs.executors import SerialExecutor

    stop = Stop()
    with progress_bar("variants", shown=not output.as_json) as bar, stop_on_signals(stop):
        report = regate_variants(
            job,
            executor=SerialExecutor(stop),
            stop=stop,
            on_planned=bar.expect,
            on_rows=bar.add,
        )
    if output.as_json:
        print_json(report)
    else:
        out = console()
        for condition, changed in report.conditions.items():
            out.print(
                f"{condition}: {changed.accepted} stay accepted, {changed.newly_accepted} are "
                f"accepted now, {changed.newly_rejected} are rejected now, {changed.rejected} stay "
                f"rejected ({changed.source} -> {changed.target})"
            )
        if not report.conditions:
            out.print("The recipe's own tables are there; no other limits were found to replace.")
        print_run(report.run, "variants")
    end(exit_code(report.run, stop.exit_code))
