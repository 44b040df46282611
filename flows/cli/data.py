"""Commands that bring frames in: `world` renders them, `ingest` reads a published data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.console import console, end, exit_code, print_json, print_run, progress_bar

if TYPE_CHECKING:
    from datasets.world import Preset, SceneSpec

FrameKind = Literal["keyframes", "sweeps", "all"]

ingest_app = typer.Typer(help="Read the clear frames of a data set into a dataset of shards.")


def world(
    out: Annotated[Path, typer.Option(help="Folder to make, in the nuScenes layout")],
    preset: Annotated[
        str,
        typer.Option(
            help="tiny (for tests), small (2 clear scenes) or bench (40 train and 12 val scenes "
            "under all conditions); the options below override it"
        ),
    ] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Scene k of seed s is always the same")] = 0,
    scenes: Annotated[int | None, typer.Option(min=1, help="Number of places")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Keyframes per scene (2 a second)")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Width x height in pixels")] = None,
    cameras: Annotated[str | None, typer.Option(help="Comma-separated channels")] = None,
    conditions: Annotated[
        str | None, typer.Option(help="Comma-separated: the places take them in turn")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Comma-separated: every place under each of these too")
    ] = None,
    stereo: Annotated[
        bool | None, typer.Option(help="Add the front camera's stereo partner at keyframes")
    ] = None,
    lidar_sweeps: Annotated[
        bool, typer.Option(help="Add the LiDAR turns nearest to t-1 and t+1")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, help="Scenes rendered side by side")] = 1,
) -> None:
    """Render the built-in driving world: streets in all weathers with their exact truth.

    Written are images, LiDAR, poses and boxes as in nuScenes, and depth, classes, instances and
    optical flow beside them. Scenes of one place are the same drive under another condition.
    """
    from datasets.world import PRESETS, write_world

    if preset not in PRESETS:
        raise typer.BadParameter(f"--preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    specs = _scenes(chosen, scenes, conditions, pairs)
    with progress_bar("rendering", shown=True) as bar:
        report = write_world(
            out,
            scenes=specs,
            frames=frames or chosen.frames,
            seed=seed,
            size=parse_size(size) if size else chosen.size,
            cameras=_names(cameras) if cameras else chosen.cameras,
            stereo=chosen.stereo if stereo is None else stereo,
            lidar_sweeps=lidar_sweeps,
            processes=processes,
            progress=bar.reach,
        )
    counts = ", ".join(f"{count} {name}" for name, count in report.scenes_by_condition.items())
    console().print(
        f"[green]rendered[/green]  {out}: {report.num_keyframes} keyframes in {report.num_scenes} "
        f"scenes ({counts}), {report.num_images} images, {report.num_lidar_sweeps} LiDAR sweeps, "
        f"{report.num_bytes / 1e6:.1f} MB"
    )


def _scenes(
    preset: "Preset", num_places: int | None, conditions: str | None, pairs: str | None
) -> "tuple[SceneSpec, ...]":
    """The scenes of a preset, or others where an option asks for them."""
    from datasets.frame import Condition
    from datasets.world import scene_specs

    if num_places is None and conditions is None and pairs is None:
        return preset.scenes

    def named(text: str | None) -> tuple[Condition, ...]:
        known = [str(c) for c in Condition]
        if unknown := [name for name in _names(text or "") if name not in known]:
            raise typer.BadParameter(f"no condition {unknown[0]!r}; choose of {', '.join(known)}")
        return tuple(Condition(name) for name in _names(text or ""))

    num_places = num_places or len({spec.place for spec in preset.scenes})
    return scene_specs(num_places, named(conditions) or (Condition.CLEAR,), named(pairs))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
