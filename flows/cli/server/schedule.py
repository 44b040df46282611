"""The command `schedule`: other commands as a deployment with a schedule."""

import math
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import console
from nightrain.flows.cli.options import ModelCommand, model_command, parse

SCHEDULED = (
    "ingest",
    "caption",
    "controls",
    "generate",
    "label",
    "verify",
    "report",
    "drift",
    "train",
)
THEN = "then"
HELP = """Run commands on a schedule: from this process, or by the workers of a work pool.

Give one command as it would be typed without `nightrain`, or several with the word `then` between
them, which run one after the other up to the first that fails:

\b
    nightrain schedule --cron "0 2 * * *" --timezone Europe/Berlin \\
        ingest nuscenes /data/nuscenes --out /data/shards \\
        then generate /data/shards --recipe weather \\
        then label /data/shards --teacher /models/teacher \\
        then verify /data/shards

Without --work-pool this process starts the runs, until Ctrl-C. A run makes only what is missing,
and waits while the previous one is active, unless --overlap is skip.
"""
SHORTEST_EVERY_S = 30.0  # a run needs about ten seconds to start, and more on a busy machine


class ScheduleOptions(Settings):
    """Options of `nightrain schedule`."""

    cron: str | None = Field(
        default=None, description="Schedule in cron's five fields, such as '0 2 * * *'"
    )
    every: float | None = Field(default=None, gt=0, description="Or seconds between two runs")
    overlap: Literal["wait", "skip"] = Field(
        default="wait",
        description="What a run does while the previous one is active: wait, or skip this time",
    )
    timezone: str = Field(default="UTC", description="Time zone of the schedule, by its IANA name")
    name: str = Field(
        default="", description="Name of the deployment (default: the dataset folder's)"
    )
    work_pool: str | None = Field(
        default=None,
        min_length=1,
        description="Leave the runs to the workers of this pool, and end",
    )


Step = tuple[str, dict[str, Any]]  # a command, and the job that its command line describes


def _schedule(commands: tuple[str, ...], **given: Any) -> None:
    options: ScheduleOptions = parse(ScheduleOptions, "options", given)
    steps = [
        step_of(list(words), look=options.work_pool is None)
        for is_then, words in groupby(commands, lambda word: word == THEN)
        if not is_then
    ]
    from nightrain.flows import chain, deployment
    from nightrain.flows.runtime.silent_runs import ensure_automation

    schedule = deployment.schedule_of(options.cron, options.every, options.timezone)
    server = deployment.require_server()
    if options.work_pool is not None:
        deployment.require_pool(options.work_pool)
    chained = chain.ChainJob(
        steps=tuple(chain.Step(command=command, job=job) for command, job in steps)
    )
    name = options.name or "-".join(names(steps))
    single = len(steps) == 1 and not has_variables(steps[0][1])
    made = deployment.deployment_of(
        chained.steps[0].flow() if single else chain.chain,
        chained.steps[0].job if single else chained.model_dump(mode="json"),
        name,
        schedule,
        options.work_pool,
        options.overlap,
    )
    deployment.apply(made)
    ensure_automation()
    _describe(made.full_name, options, server)
    if options.work_pool is None:
        deployment.serve(made)


schedule: ModelCommand = model_command("schedule", _schedule, {"options": ScheduleOptions}, HELP)
schedule.callback = _schedule
schedule.allow_interspersed_args = False  # options after the first command belong to it
schedule.params.insert(
    0,
    click.Argument(
        ["commands"],
        nargs=-1,
        required=True,
        type=click.UNPROCESSED,
        metavar="COMMAND [then COMMAND]...",
        help=f"Command with its options, one of: {', '.join(SCHEDULED)}",
    ),
)


def step_of(words: list[str], *, look: bool) -> Step:
    """Parse a command line into a step; raises click.UsageError, InvalidRequest.

    Paths become absolute; with `look` they must exist, and recipes must be valid.
    """
    from nightrain.flows.cli import app
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    name, *rest = words
    if name not in SCHEDULED:
        raise click.UsageError(f"{name!r} cannot be scheduled; expected {', '.join(SCHEDULED)}.")
    found = app.get_command(click.Context(app), name)
    if isinstance(found, click.Group):
        source = rest.pop(0) if rest else ""
        found = found.get_command(click.Context(found), source)
    assert isinstance(found, ModelCommand)
    models = found.parsed(rest, look=look)
    for key, options in models.items():
        if key != "job" and options.model_fields_set:
            option = min(options.model_fields_set).replace("_", "-")
            raise click.UsageError(f"{name}: the option {option!r} has no meaning in a schedule.")
    job = absolute(models["job"].model_dump())
    if look and "recipe" in job and name != "drift":  # which names variants that exist
        load_recipe(job["recipe"], Path(job["dataset"]))
    return name, job


def absolute(value: Any, key: str = "") -> Any:
    """Return a job's value for JSON, with absolute paths, also of a recipe's file.

    A path that begins with a variable, such as $NIGHTRAIN_DATA, is left to the machine that runs.
    """
    if isinstance(value, dict):
        return {name: absolute(each, name) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [absolute(each) for each in value]
    if isinstance(value, Path) or (key == "recipe" and Path(value).suffix in (".yaml", ".yml")):
        return str(value if str(value).startswith("$") else Path(value).absolute())
    return value


def has_variables(value: Any) -> bool:
    """Whether a job's value has a path that begins with a variable, which only a chain replaces."""
    if isinstance(value, dict):
        return any(map(has_variables, value.values()))
    if isinstance(value, list):
        return any(map(has_variables, value))
    return isinstance(value, str) and "$" in value


def names(steps: Iterable[Step]) -> Sequence[str]:
    """Names of the dataset folders of steps, without repetitions."""
    return list(dict.fromkeys(Path(job["dataset"]).name for _, job in steps))


def _describe(full_name: str, options: ScheduleOptions, server: str) -> None:
    out = console()
    when = "on request only"
    if options.cron is not None:
        when = f"{options.cron} {options.timezone}"
    elif options.every is not None:
        when = f"every {options.every:g} s"
    out.print(f"[green]scheduled[/green] {full_name}: {when}, on {server}")
    if (options.every or math.inf) < SHORTEST_EVERY_S and options.overlap == "wait":
        out.print(
            "[yellow]A run takes about ten seconds to start, so with this interval waiting runs "
            f"accumulate. Use at least --every {SHORTEST_EVERY_S:.0f}, or --overlap skip.[/yellow]"
        )
    pool = options.work_pool
    if pool is None:
        out.print("Runs start from this process; Ctrl-C stops it and pauses the schedule.")
    else:
        out.print(f"Workers take its runs: prefect worker start --pool {shlex.quote(pool)}")
    out.print(f"Run it now: prefect deployment run {shlex.quote(full_name)}")
