"""The command `demo`: the whole way on the built-in world, offline, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console

SEED = 7


def demo(
    out: Annotated[Path, typer.Option(help="Folder to make")] = Path("demo"),
    engine_mode: Annotated[str, typer.Option(help="prefect or local")] = "prefect",
) -> None:
    """Render a world, ingest it, make its night, rain, snow and fog, verify, show, count."""
    from flows.cli import data, generation, ingest, inspection
    from pipelines.inspect.stats import dataset_stats

    world, dataset = out / "world", out / "dataset"
    _say(1, "rendering a clear street with depth and LiDAR")
    if not world.exists():
        data.world(world, "small", SEED)
    _say(2, "reading its frames into shards")
    ingest.world(world, dataset)
    _say(3, "making night, rain, snow, fog and night-rain variants in a Prefect flow")
    generation.generate(dataset, "demo", engine_mode)
    _say(4, "re-hashing everything")
    inspection.verify(dataset, False)
    _say(5, "looking at it")
    sheet = dataset / "contact-sheet.png"
    generation.preview(dataset, "demo", sheet, 4, 8)
    report = dataset_stats(dataset)
    (dataset / "stats.json").write_text(report.model_dump_json(indent=2))
    inspection.print_stats(report)
    console().print(
        f"\nshards         {dataset / 'variants'}\ncontact sheet  {sheet}\n"
        f"statistics     {dataset / 'stats.json'}"
    )


def _say(step: int, what: str) -> None:
    console().print(f"\n[bold]{step}/5 {what}[/bold]")
