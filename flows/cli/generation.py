"""Commands that plan, preview and make variants."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightrain.flows.cli.console import console, end, exit_code, print_json, print_run, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_flow, run_local, say_server

if TYPE_CHECKING:
    from prefect import Flow

    from nightrain.pipelines.generate.job import GenerateJob

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
    from nightrain.pipelines.generate.cost_estimate import estimate
    from nightrain.pipelines.recipes.recipe_file import load_recipe

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
    from nightrain.pipelines.generate.preview import write_preview
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    path = out or dataset / f"preview-{loaded.folder}.png"
    typer.echo(str(write_preview(dataset, loaded, path, frames, columns)))


def generate(
    dataset: Dataset,
    recipe: RecipeName = "weather",
    runner: Runner = "prefect",
    workers: Annotated[int, typer.Option(min=1, help="Shards made side by side")] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make only what is in quarantine")
    ] = False,
    include_evaluation_scenes: EvaluationScenes = False,
    gpu_limit: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Prefect's global concurrency limit that each shard of a diffusion recipe holds: "
            "machines and flows take turns on a GPU",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Make the variants that a recipe asks for; run it again to go on after any interruption."""
    from nightrain.pipelines.generate.job import GenerateJob
    from nightrain.pipelines.generate.job import generate as run
    from nightrain.pipelines.runs.stop import Stop

    check_mode(runner)
    if gpu_limit is not None and runner == "local":
        raise typer.BadParameter("--gpu-limit is kept by a server; it needs --runner prefect")
    job = GenerateJob(
        dataset=dataset.resolve(),
        recipe=recipe,
        num_workers=workers,
        retry_failed=retry_failed,
        include_evaluation_scenes=include_evaluation_scenes,
        gpu_limit=gpu_limit,
    )
    stop = Stop()
    if runner == "prefect" and not json:
        say_server("generate-variants")
    with progress_bar("variants", None if retry_failed else _num_left(job), not json) as bar:
        if runner == "local":
            report = run_local(partial(run, job), workers, stop, bar.add)
        else:
            report = run_flow(_flow, job, stop, bar.add)
    if json:
        print_json(report)
    else:
        print_run(report, "variants")
    end(exit_code(report, stop.exit_code))


def _flow() -> Flow[..., Any]:
    from nightrain.flows.generate import generate_variants

    return generate_variants


def _num_left(job: GenerateJob) -> int:
    """Variants of a job that are neither committed nor quarantined."""
    from nightrain.datasets.shards.manifest import Manifest

    plan = job.plan()
    entries = [Manifest(job.dataset).entry(shard) for shard in plan.shards]
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
    from nightrain.flows.cli.console import EXIT_INCOMPLETE
    from nightrain.pipelines.generate.replay import replay

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
