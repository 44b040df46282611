"""The command `world`: it renders the built-in driving world."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console, progress_bar
from flows.cli.ingest import nuscenes as nuscenes  # `demo` looks for it here


def world(
    out: Annotated[Path, typer.Option(help="Folder to make, in the nuScenes layout")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of scenes")] = 5,
    frames: Annotated[int, typer.Option(min=1, help="Keyframes per scene (2 a second)")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Scene k of seed s is always the same")] = 0,
    size: Annotated[str, typer.Option(help="Width x height in pixels")] = "448x256",
    cameras: Annotated[str, typer.Option(help="Comma-separated channels")] = "CAM_FRONT",
) -> None:
    """Render the built-in driving world: streets with exact depth, LiDAR and ego motion."""
    from datasets.world import write_world

    with progress_bar("rendering", shown=True) as bar:
        report = write_world(
            out,
            scenes=scenes,
            frames=frames,
            seed=seed,
            size=parse_size(size),
            cameras=tuple(name for name in cameras.split(",") if name),
            progress=bar.reach,
        )
    console().print(
        f"[green]rendered[/green]  {out}: {report.num_keyframes} keyframes in {report.num_scenes} "
        f"scenes, {report.num_images} images, {report.num_lidar_sweeps} LiDAR sweeps, "
        f"{report.num_bytes / 1e6:.1f} MB"
    )


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as "448x256"; raises typer.BadParameter."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise typer.BadParameter(f"--size is {text!r}; expected WIDTHxHEIGHT, such as 448x256")
    return int(width), int(height)
