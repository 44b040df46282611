"""Commands that plan, preview, generate, import and replay variants."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    counted,
    end,
    print_json,
)
from nightrain.flows.cli.jobs import FlowOptions, LocalFirst, OutputOptions, run_shard_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.generate.job import GenerateJob
from nightrain.pipelines.generate.job import generate as generate_variants
from nightrain.pipelines.import_variants.job import ImportVariantsJob
from nightrain.pipelines.recipes.recipe_file import built_in_recipes

if TYPE_CHECKING:
    from nightrain.pipelines.generate.cost_estimate import Estimate

ARGUMENT = {"cli": "argument", "must_exist": True}


class RecipeOptions(Settings):
    """Options of the commands that inspect a recipe."""

    dataset: Path = Field(description="Dataset folder", json_schema_extra=ARGUMENT)
    recipe: str = Field(
        default="weather",
        description="Built-in recipe, or path of a YAML file",
        examples=built_in_recipes(),
    )


class PlanOptions(RecipeOptions):
    """Options of `nightrain plan`."""

    include_evaluation_scenes: bool = Field(
        default=False, description="Also use val and test scenes; never train on these variants"
    )
    num_workers: int = Field(
        default=1, ge=1, description="Workers of the run whose time is estimated"
    )
    price_per_hour: float | None = Field(
        default=None, gt=0, description="Price of one device, or worker on the CPU, to print costs"
    )
    currency: str = Field(default="", max_length=10, description="Word behind the price")


class PreviewOptions(RecipeOptions):
    """Options of `nightrain preview`."""

    show: Literal["recipe", "committed", "quarantine"] = Field(
        default="recipe",
        description="recipe: what `generate` will make; committed: its variants in the dataset; "
        "quarantine: frames and variants that were rejected, with reasons",
    )
    include_evaluation_scenes: bool = Field(
        default=False, description="Also show val and test scenes, which `generate` leaves out"
    )
    out: Path | None = Field(
        default=None,
        description="PNG or JPEG to write (default: in the dataset folder, or in this one if the "
        "dataset is read-only)",
    )
    frames: int = Field(default=4, ge=1, le=64, description="Number of frames")
    columns: int = Field(default=8, ge=1, description="Images per row")


class ReplayOptions(Settings):
    """Options of `nightrain replay`."""

    dataset: Path = Field(description="Dataset folder", json_schema_extra=ARGUMENT)
    sample_id: str = Field(
        description="Value of a variant's column sample_id", json_schema_extra={"cli": "argument"}
    )


@command
def plan(job: PlanOptions, output: OutputOptions) -> None:
    """Estimate a recipe's images, disk space and time from a short calibration."""
    from nightrain.pipelines.generate.cost_estimate import estimate
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    e = estimate(
        job.dataset,
        load_recipe(job.recipe, job.dataset),
        include_evaluation_scenes=job.include_evaluation_scenes,
        num_workers=job.num_workers,
        price_per_hour=job.price_per_hour,
    )
    if output.as_json:
        print_json(e)
    else:
        _print_plan(e, job.currency)


def _print_plan(e: "Estimate", currency: str) -> None:
    out = console()
    out.print(f"recipe    {e.recipe} ({e.recipe_hash})")
    out.print(f"frames    {e.num_frames} clear frames")
    for reason, count in e.skipped.items():
        out.print(f"left out  {count} {reason}")
    out.print(
        f"variants  {e.num_variants} in {e.num_shards} shards, {e.num_variants_left} to generate"
    )
    for condition, c in e.conditions.items():
        left = f"{c.num_variants_left} variants in {counted(c.num_shards_left, 'shard')}"
        out.print(f"remaining {condition}: {left if c.num_shards_left else 'none'}")
    if e.past is not None:
        out.print(
            f"so far    {1000 * e.past.seconds_per_variant:,.0f} ms and "
            f"{e.past.bytes_per_variant / 1e6:.3f} MB per variant took "
            f"{counted(e.past.num_runs, 'run')} for {e.past.num_variants:,} variants "
            "(`nightrain runs` lists them)"
        )
    if e.seconds_per_variant is None:
        out.print("All variants are committed; nothing was measured.")
        return
    out.print(f"disk      {e.gigabytes:.3f} GB to write, {e.free_gigabytes:.1f} GB free")
    workers = "one worker" if e.num_workers == 1 else f"{e.num_workers} workers"
    out.print(
        f"time      {_duration(3600 * e.hours)} with {workers} "
        f"({1 / e.seconds_per_variant:.1f} variants/s measured with one on this machine, "
        f"{1000 * e.seconds_per_variant:,.0f} ms and {(e.bytes_per_variant or 0) / 1e6:.3f} MB "
        "each)"
    )
    out.print(f"devices   {e.device_hours:,.3g} device-hours of {e.device}", markup=False)
    if e.price is not None:
        out.print(f"price     {e.price:,.2f} {currency}".rstrip(), markup=False)


@command
def preview(job: PreviewOptions) -> None:
    """Write a contact sheet: clear image, depth and each condition of a recipe.

    It shows exactly the variants that `generate` makes of the same frames. With --show, it shows
    what is committed, or what is in quarantine and why.
    """
    from nightrain.pipelines.generate.preview import write_default_preview, write_preview
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    recipe = load_recipe(job.recipe, job.dataset)

    def write(path: Path) -> Path:
        return write_preview(
            job.dataset,
            recipe,
            path,
            job.frames,
            job.columns,
            show=job.show,
            include_evaluation_scenes=job.include_evaluation_scenes,
        )

    if job.out is not None:
        path = write(job.out)
    else:
        what = "preview" if job.show == "recipe" else job.show
        name = f"{what}-{recipe.name}-{recipe.hash[:8]}.png"
        path = write_default_preview(job.dataset, name, write)
    click.echo(str(path))


@command
def generate(job: GenerateJob, options: FlowOptions) -> None:
    """Generate the variants of a recipe.

    Run the same command again to resume after an interruption.
    """
    if job.gpu_limit is not None and options.runner == "local":
        raise click.UsageError("--gpu-limit needs a Prefect server; use it with --runner prefect.")
    run_shard_job(
        job,
        generate_variants,
        flow="generate:generate_variants",
        rows="variants",
        options=options,
        num_workers=job.num_workers,
        devices=job.devices,
    )


@command
def import_variants(job: ImportVariantsJob, options: LocalFirst) -> None:
    """Make variants of pictures that another program translated.

    The pictures are named like their frames: by frame_id, by the source's file names, by those of
    CycleGAN (NAME_fake_B.png) or img2img-turbo, or in a Hugging Face dataset with one of these in
    its column frame_id, source_id or file_name. The variants pass the gates of --recipe. A frame
    without a picture goes to quarantine, and all others are imported.
    """
    from nightrain.pipelines.import_variants.job import prepare_import

    prepared = prepare_import(job)
    for note in prepared.notes if not options.as_json else ():
        console().print("[yellow]note[/yellow]      ", end="")
        console().print(note, markup=False, highlight=False)
    if not options.as_json:
        click.echo(f"recipe    {prepared.job.recipe}")
    run_shard_job(
        prepared.job,
        generate_variants,
        flow="generate:generate_variants",
        rows="variants",
        options=options,
        num_workers=job.num_workers,
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@command
def replay(job: ReplayOptions, output: OutputOptions) -> None:
    """Generate a committed variant again and compare the bytes.

    The exit code is 3 if they differ.
    """
    from nightrain.pipelines.generate.replay import replay

    report = replay(job.dataset, job.sample_id)
    if output.as_json:
        print_json(report)
    else:
        out = console()
        for difference in report.differences:
            out.print(f"[yellow]changed[/yellow]    {difference}")
        if report.identical:
            out.print(f"[green]identical[/green]  {job.sample_id} by {report.recipe}")
        elif report.failed:
            out.print(f"[red]failed[/red]     {report.failed}")
        else:
            psnr = "equal pixels" if report.psnr_db is None else f"{report.psnr_db:.1f} dB PSNR"
            out.print(f"[yellow]different[/yellow]  {job.sample_id} by {report.recipe}: {psnr}")
    end(0 if report.identical else EXIT_INCOMPLETE)
