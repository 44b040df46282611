"""Commands that plan, preview and make variants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import console, end, exit_code, print_json, print_run, progress_bar

if TYPE_CHECKING:
    from pipelines.run import GenerateJob, RunReport
    from pipelines.shardwork import OnRows
    from pipelines.stop import Stop

Dataset = Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)]
RecipeName = Annotated[str, typer.Option("--recipe", help="Built-in recipe or path of a YAML file")]
EvaluationScenes = Annotated[
    bool,
    typer.Option(
        "--include-evaluation-scenes",
        help="Also use val and test scenes; never train on these variants",
    ),
]


def plan(
    dataset: Dataset,
    recipe: RecipeName = "weather",
    include_evaluation_scenes: EvaluationScenes = False,
    json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON")] = False,
) -> None:
    """Say what a recipe will cost: images, GB and hours, from a short calibration."""
    from pipelines.calibrate import estimate
    from pipelines.recipe import load_recipe

    e = estimate(dataset, load_recipe(recipe), include_evaluation_scenes=include_evaluation_scenes)
    if json:
        print_json(e)
        return
    out = console()
    out.print(f"recipe    {e.recipe} ({e.recipe_hash})")
    out.print(f"frames    {e.num_frames} clear frames")
    for reason, count in e.skipped.items():
        out.print(f"left out  {count} {reason}")
    out.print(f"variants  {e.num_variants} in {e.num_shards} shards, {e.num_variants_left} to make")
    out.print(f"disk      {e.gigabytes:.3f} GB to write, {e.free_gigabytes:.1f} GB free")
    out.print(
        f"time      {_duration(3600 * e.hours)} with one worker "
        f"({1 / e.seconds_per_variant:.1f} variants/s measured on this machine)"
    )


def preview(
    dataset: Dataset,
    recipe: RecipeName = "weather",
    out: Annotated[Path | None, typer.Option(help="PNG or JPEG to write")] = None,
    frames: Annotated[int, typer.Option(min=1, max=64, help="Number of frames")] = 4,
    columns: Annotated[int, typer.Option(min=1, help="Pictures side by side")] = 8,
) -> None:
    """Write a contact sheet: clear, depth and each condition, as `generate` will make them."""
    from pipelines.inspect.preview import write_preview
    from pipelines.recipe import load_recipe

    loaded = load_recipe(recipe)
    path = out or dataset / f"preview-{loaded.folder}.png"
    typer.echo(str(write_preview(dataset, loaded, path, frames, columns)))


def generate(
    dataset: Dataset,
    recipe: RecipeName = "weather",
    engine_mode: Annotated[
        str, typer.Option(help="prefect: as a flow run; local: the same job, no server")
    ] = "prefect",
    workers: Annotated[int, typer.Option(min=1, help="Shards made side by side")] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make only what is in quarantine")
    ] = False,
    include_evaluation_scenes: EvaluationScenes = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Make the variants that a recipe asks for; run it again to go on after any interruption."""
    from pipelines.run import GenerateJob
    from pipelines.stop import Stop

    if engine_mode not in ("prefect", "local"):
        raise typer.BadParameter(f"--engine-mode is {engine_mode!r}; expected prefect or local")
    job = GenerateJob(
        dataset=dataset.resolve(),
        recipe=recipe,
        num_workers=workers,
        retry_failed=retry_failed,
        include_evaluation_scenes=include_evaluation_scenes,
    )
    run, stop = (run_local if engine_mode == "local" else run_flow), Stop()
    if engine_mode == "prefect" and not json:
        server = os.environ.get("PREFECT_API_URL", "a temporary server, which takes a moment")
        typer.echo(f"flow generate-variants on {server}", err=True)
    with progress_bar("variants", None if retry_failed else _num_left(job), not json) as bar:
        report = run(job, stop, bar.add)
    if json:
        print_json(report)
    else:
        print_run(report, "variants")
    end(exit_code(report, stop.exit_code))


def run_local(job: GenerateJob, stop: Stop, on_rows: OnRows) -> RunReport:
    """The job in plain Python: serial, or in processes."""
    from pipelines.execute import ProcessExecutor, SerialExecutor
    from pipelines.run import generate as run
    from pipelines.stop import stop_on_signals

    serial = job.num_workers == 1
    executor = SerialExecutor(stop) if serial else ProcessExecutor(job.num_workers, stop)
    with stop_on_signals(stop):
        return run(job, executor=executor, stop=stop, on_rows=on_rows)


def run_flow(job: GenerateJob, stop: Stop, on_rows: OnRows) -> RunReport:
    """The job as a run of the flow `generate-variants`, on the user's server or a temporary one."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the progress bar says the rest
    from flows.server_guard import guard_server

    guard_server()
    from flows.generate import run_in_process

    return run_in_process(job, stop, on_rows)


def _num_left(job: GenerateJob) -> int:
    """Variants of a job that are neither committed nor quarantined."""
    from datasets.catalog import Catalog

    plan = job.plan()
    entries = [Catalog(job.dataset).entry(shard) for shard in plan.shards]
    done = sum(e.rows.num_rows + sum(e.counts.values()) for e in entries if e is not None)
    return plan.num_variants - done


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def replay(
    dataset: Dataset,
    sample_id: Annotated[str, typer.Argument(help="Column sample_id of a variant")],
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Make a committed variant again and compare; exit code 3 where it differs."""
    from flows.cli.console import EXIT_INCOMPLETE
    from pipelines.replay import replay

    report = replay(dataset, sample_id)
    if json:
        print_json(report)
    else:
        out = console()
        for difference in report.differences:
            out.print(f"[yellow]changed[/yellow]    {difference}")
        if report.identical:
            out.print(f"[green]identical[/green]  {sample_id} by {report.recipe}")
        elif report.failed:
            out.print(f"[red]failed[/red]     {report.failed}")
        else:
            psnr = "equal pixels" if report.psnr_db is None else f"{report.psnr_db:.1f} dB PSNR"
            out.print(f"[yellow]different[/yellow]  {sample_id} by {report.recipe}: {psnr}")
    end(0 if report.identical else EXIT_INCOMPLETE)


def caption(
    dataset: Dataset,
    captioner: Annotated[str, typer.Option(help="blip2 or small")] = "blip2",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Say in a sentence what each frame shows, once, for recipes with `captioner: ...`."""
    from datasets.catalog import Catalog
    from flows.cli.console import one_of
    from pipelines.captions.shard import CaptionShard, plan_captions
    from pipelines.execute import SerialExecutor
    from pipelines.prompted import load_captioner
    from pipelines.run import run
    from pipelines.stop import Stop, stop_on_signals

    chosen = load_captioner(one_of("--captioner", captioner, ("metadata", "blip2", "small")))
    catalog, stop = Catalog(dataset), Stop()
    shards = plan_captions(catalog, chosen)
    with stop_on_signals(stop), progress_bar("captions", shown=not json) as bar:
        report = run(
            dataset,
            list(shards),
            CaptionShard(dataset, chosen),
            executor=SerialExecutor(stop),
            stop=stop,
            on_rows=bar.add,
        )
    if json:
        print_json(report)
    else:
        print_run(report, "captions")
    end(exit_code(report, stop.exit_code))
