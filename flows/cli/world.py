"""The command `world`: it renders the built-in driving world."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightrain.flows.cli.console import console, progress_bar

if TYPE_CHECKING:
    from nightrain.datasets.world.export.plan import SceneSpec
    from nightrain.datasets.world.export.world_presets import Preset


def world(
    out: Annotated[Path, typer.Option(help="Folder to make, in the nuScenes layout")],
    preset: Annotated[
        str,
        typer.Option(
            help="tiny (for tests), small (2 clear scenes), demo (24 clear train places, 4 val "
            "places by day, night and rain) or bench (40 train and 12 val scenes under all "
            "conditions); the options below override it"
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
    from nightrain.datasets.world.export.world_presets import PRESETS
    from nightrain.datasets.world.export.writer import write_world

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
    from nightrain.datasets.conditions import Condition
    from nightrain.datasets.world.export.plan import scene_specs

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


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as "448x256"; raises typer.BadParameter."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise typer.BadParameter(f"--size is {text!r}; expected WIDTHxHEIGHT, such as 448x256")
    return int(width), int(height)
