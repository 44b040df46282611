"""Commands that bring frames in: `world` renders them, `ingest` reads a published data set."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.console import console, end, exit_code, print_json, print_run, progress_bar

FrameKind = Literal["keyframes", "sweeps", "all"]

ingest_app = typer.Typer(help="Read the clear frames of a data set into a dataset of shards.")


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


@ingest_app.callback()
def _ingest() -> None:
    """Read the clear frames of a data set into a dataset of shards."""


@ingest_app.command("nuscenes")
def nuscenes(
    root: Annotated[Path, typer.Argument(help="Folder with samples/, sweeps/ and the tables")],
    out: Annotated[Path, typer.Option(help="Dataset to make or go on with")],
    version: Annotated[str, typer.Option(help="Folder of the tables")] = "v1.0-trainval",
    split: Annotated[
        str, typer.Option(help="train and val by md4all's rules, test, or all, unfiltered")
    ] = "train",
    cameras: Annotated[str, typer.Option(help="Comma-separated channels, or all")] = "all",
    frames: Annotated[str, typer.Option(help="keyframes, sweeps or all")] = "keyframes",
    neighbours: Annotated[bool, typer.Option(help="Store t-1 and t+1 beside each frame")] = True,
    retry_failed: Annotated[bool, typer.Option(help="Read the frames in quarantine again")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Read nuScenes, or the built-in world, which is written in its layout."""
    from datasets.nuscenes import NuScenesSource
    from pipelines.execute import SerialExecutor
    from pipelines.run import ingest
    from pipelines.stop import Stop, stop_on_signals

    chosen = None if cameras == "all" else tuple(name for name in cameras.split(",") if name)
    source = NuScenesSource(
        root, version, cameras=chosen, frames=one_of(frames), neighbours=neighbours
    )
    options = {
        "version": version,
        "split": split,
        "cameras": cameras,
        "frames": frames,
        "neighbours": str(neighbours).lower(),
    }
    stop, refs = Stop(), source.select(split)
    with stop_on_signals(stop), progress_bar("reading frames", len(refs), not json) as bar:
        report = ingest(
            out,
            source,
            refs,
            options,
            executor=SerialExecutor(stop),
            stop=stop,
            retry_failed=retry_failed,
            on_rows=bar.add,
        )
    if json:
        print_json(report)
    else:
        print_run(report, "frames")
    end(exit_code(report, stop.exit_code))


def one_of(frames: str) -> FrameKind:
    """The kind of frames by its name; raises typer.BadParameter."""
    kinds: dict[str, FrameKind] = {"keyframes": "keyframes", "sweeps": "sweeps", "all": "all"}
    if frames not in kinds:
        raise typer.BadParameter(f"--frames is {frames!r}; expected one of {', '.join(kinds)}")
    return kinds[frames]


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as "448x256"; raises typer.BadParameter."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise typer.BadParameter(f"--size is {text!r}; expected WIDTHxHEIGHT, such as 448x256")
    return int(width), int(height)
