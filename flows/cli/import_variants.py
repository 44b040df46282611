"""The command `import-variants`: pictures that another program translated."""

import click

from nightrain.flows.cli.console import console
from nightrain.flows.cli.jobs import LocalFirst, run_shard_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.import_variants.job import ImportVariantsJob


@command
def import_variants(job: ImportVariantsJob, options: LocalFirst) -> None:
    """Make variants of pictures that another program translated.

    The pictures are named like their frames: by frame_id, by the source's file names, by those of
    CycleGAN (NAME_fake_B.png) or img2img-turbo, or in a Hugging Face dataset with one of these in
    its column frame_id, source_id or file_name. The variants pass the gates of --recipe. A frame
    without a picture goes to quarantine, and all others are imported.
    """
    from nightrain.pipelines.generate.job import generate
    from nightrain.pipelines.import_variants.job import prepare_import

    prepared = prepare_import(job)
    for note in prepared.notes if not options.as_json else ():
        console().print("[yellow]note[/yellow]      ", end="")
        console().print(note, markup=False, highlight=False)
    if not options.as_json:
        click.echo(f"recipe    {prepared.job.recipe}")
    run_shard_job(
        prepared.job,
        generate,
        flow="generate:generate_variants",
        rows="variants",
        options=options,
        num_workers=job.num_workers,
    )
