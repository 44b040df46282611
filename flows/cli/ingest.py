"""Commands that read a published data set: `ingest nuscenes`, `world`, `robotcar`, `kitti`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nightrain.flows.cli.console import (
    console,
    end,
    ingest_exit_code,
    one_of,
    print_bad_frames,
    print_json,
    print_run,
    progress_bar,
)

if TYPE_CHECKING:
    from nightrain.datasets.sources.base import FrameSource

FRAME_KINDS: tuple[Literal["keyframes", "sweeps", "all"], ...] = ("keyframes", "sweeps", "all")
UNDISTORTED: tuple[Literal["auto", "yes", "no"], ...] = ("auto", "yes", "no")
LAYOUTS: tuple[Literal["raw", "depth"], ...] = ("raw", "depth")
GROUND_TRUTHS: tuple[Literal["velodyne", "improved"], ...] = ("velodyne", "improved")

app = typer.Typer(
    help="Read the frames of a data set into a dataset of shards. A damaged frame is set aside and "
    "the rest goes on; the exit code is then 3, or 0 with --skip-bad.",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option(help="Dataset to make or go on with")]
Cameras = Annotated[str, typer.Option(help="Comma-separated channels, or all")]
Frames = Annotated[str, typer.Option(help="keyframes, sweeps or all")]
Neighbours = Annotated[bool, typer.Option(help="Store t-1 and t+1 beside each frame")]
RetryFailed = Annotated[bool, typer.Option(help="Read the frames in quarantine again")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON")]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="List damaged or absent frames, and call the rest a success"),
]
Workers = Annotated[int, typer.Option(min=1, help="Shards read side by side")]
SharedLogs = Annotated[
    bool,
    typer.Option("--allow-shared-logs", help="Let own splits cut a log into train and held-out"),
]


@dataclass(frozen=True)
class HowToRead:
    """What all the commands have in common."""

    out: Path
    split: str
    retry_failed: bool
    json: bool
    skip_bad: bool
    workers: int
    allow_shared_logs: bool = False


@app.command("nuscenes")
def nuscenes(
    root: Annotated[Path, typer.Argument(help="Folder with samples/, sweeps/ and the tables")],
    out: Out,
    version: Annotated[str, typer.Option(help="Folder of the tables")] = "v1.0-trainval",
    split: Annotated[
        str, typer.Option(help="train and val by md4all's rules, test, or all, unfiltered")
    ] = "train",
    cameras: Cameras = "all",
    frames: Frames = "keyframes",
    neighbours: Neighbours = True,
    retry_failed: RetryFailed = False,
    json: AsJson = False,
    skip_bad: SkipBad = False,
    workers: Workers = 1,
    allow_shared_logs: SharedLogs = False,
) -> None:
    """Read nuScenes, or anything else in its layout."""
    from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
    from nightrain.datasets.sources.nuscenes.source import NuScenesSource

    how = HowToRead(out, split, retry_failed, json, skip_bad, workers, allow_shared_logs)
    options = {
        "version": version,
        "cameras": cameras,
        "frames": frames,
        "neighbours": str(neighbours).lower(),
    }
    _ingest(
        lambda: NuScenesSource(
            NuScenesConfig(
                root=root,
                version=version,
                cameras=_names(cameras),
                frames=one_of("--frames", frames, FRAME_KINDS),
                neighbours=neighbours,
            )
        ),
        options,
        how,
    )


@app.command("world")
def world(
    root: Annotated[Path, typer.Argument(help="Folder that `nightrain world` made")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, val, or all, unfiltered")] = "all",
    cameras: Cameras = "all",
    frames: Frames = "keyframes",
    neighbours: Neighbours = True,
    retry_failed: RetryFailed = False,
    json: AsJson = False,
    skip_bad: SkipBad = False,
    workers: Workers = 1,
    allow_shared_logs: SharedLogs = False,
) -> None:
    """Read the built-in world."""
    nuscenes(
        root,
        out,
        "v1.0-world",
        split,
        cameras,
        frames,
        neighbours,
        retry_failed,
        json,
        skip_bad,
        workers,
        allow_shared_logs,
    )


@app.command("robotcar")
def robotcar(
    root: Annotated[Path, typer.Argument(help="Folder of the traverses, 2014-12-09-13-21-02/...")],
    out: Out,
    sdk: Annotated[Path, typer.Option(help="Folder with models/, extrinsics/ and tags/")],
    splits: Annotated[Path | None, typer.Option(help="Folder of the split files")] = None,
    split: Annotated[
        str, typer.Option(help="train (md4all's filter), val, test or all; all without --splits")
    ] = "",
    traverses: Annotated[str, typer.Option(help="Comma-separated traverses, or all")] = "all",
    camera: Annotated[str, typer.Option(help="Folder of the camera")] = "stereo/left",
    neighbours: Neighbours = True,
    undistorted: Annotated[
        str, typer.Option(help="Images are undistorted already: yes, no, auto")
    ] = "auto",
    crop_bonnet: Annotated[bool, typer.Option(help="Keep the top 768 of 960 rows")] = True,
    lms_window_s: Annotated[float, typer.Option(help="Laser scans kept, seconds either side")] = 4,
    retry_failed: RetryFailed = False,
    json: AsJson = False,
    skip_bad: SkipBad = False,
    workers: Workers = 1,
) -> None:
    """Read Oxford RobotCar."""
    from nightrain.datasets.sources.robotcar.config import RobotCarConfig
    from nightrain.datasets.sources.robotcar.source import RobotCarSource

    split = split or ("train" if splits else "all")
    how = HowToRead(out, split, retry_failed, json, skip_bad, workers)
    options = {
        "camera": camera,
        "traverses": traverses,
        "splits": "given" if splits else "none",
        "undistorted": undistorted,
        "crop_bonnet": str(crop_bonnet).lower(),
        "lms_window_s": str(lms_window_s),
        "neighbours": str(neighbours).lower(),
    }
    _ingest(
        lambda: RobotCarSource(
            RobotCarConfig(
                root=root,
                sdk=sdk,
                splits=splits,
                traverses=_names(traverses),
                camera=camera,
                neighbours=neighbours,
                undistorted=one_of("--undistorted", undistorted, UNDISTORTED),
                crop_bonnet=crop_bonnet,
                skip_bad=skip_bad,
                lms_window_s=lms_window_s,
                cache=out / "_brightness",
            )
        ),
        options,
        how,
    )


@app.command("kitti")
def kitti(
    root: Annotated[Path, typer.Argument(help="Folder of the dates, 2011_09_26/...")],
    out: Out,
    split_files: Annotated[Path | None, typer.Option(help="Folder of the split files")] = None,
    split: Annotated[
        str, typer.Option(help="train, val, test or all; all without --split-files")
    ] = "",
    layout: Annotated[str, typer.Option(help="raw, or depth (KITTI's depth benchmark)")] = "raw",
    cameras: Annotated[str, typer.Option(help="Comma-separated cameras")] = "image_02",
    ground_truth: Annotated[str, typer.Option(help="velodyne or improved")] = "velodyne",
    kb_crop: Annotated[bool, typer.Option(help="Crop to 1216x352, bottom centre")] = False,
    neighbours: Neighbours = True,
    stereo: Annotated[bool, typer.Option(help="Store the other image of the pair")] = False,
    retry_failed: RetryFailed = False,
    json: AsJson = False,
    skip_bad: SkipBad = False,
    workers: Workers = 1,
) -> None:
    """Read KITTI: raw drives, or the layout of its depth benchmark."""
    from nightrain.datasets.sources.kitti.config import KittiConfig
    from nightrain.datasets.sources.kitti.source import KittiSource

    split = split or ("train" if split_files else "all")
    how = HowToRead(out, split, retry_failed, json, skip_bad, workers)
    options = {
        "layout": layout,
        "cameras": cameras,
        "split_files": "given" if split_files else "none",
        "ground_truth": ground_truth,
        "kb_crop": str(kb_crop).lower(),
        "neighbours": str(neighbours).lower(),
        "stereo": str(stereo).lower(),
    }
    _ingest(
        lambda: KittiSource(
            KittiConfig(
                root=root,
                layout=one_of("--layout", layout, LAYOUTS),
                split_files=split_files,
                cameras=_names(cameras),
                neighbours=neighbours,
                stereo=stereo,
                ground_truth=one_of("--ground-truth", ground_truth, GROUND_TRUTHS),
                kb_crop=kb_crop,
                skip_bad=skip_bad,
            )
        ),
        options,
        how,
    )


def _ingest(
    open_source: Callable[[], FrameSource], options: dict[str, str], how: HowToRead
) -> None:
    """Open a source, read the frames of the split, say what became of them, and end."""
    from nightrain.pipelines.ingest.job import ingest_frames
    from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
    from nightrain.pipelines.runs.stop import Stop, stop_on_signals

    source, stop = open_source(), Stop()
    for note in source.notes if not how.json else ():
        console().print(f"[yellow]note[/yellow]      {note}")
    refs = source.select(how.split)
    executor = SerialExecutor(stop) if how.workers == 1 else ProcessExecutor(how.workers, stop)
    with stop_on_signals(stop), progress_bar("reading frames", len(refs), not how.json) as bar:
        report = ingest_frames(
            how.out,
            source,
            refs,
            {"split": how.split, **options},
            executor=executor,
            stop=stop,
            retry_failed=how.retry_failed,
            allow_shared_logs=how.allow_shared_logs,
            on_rows=bar.add,
        )
    if how.json:
        print_json(report)
    else:
        print_run(report, "frames")
        print_bad_frames(report, how.out, how.skip_bad)
    end(ingest_exit_code(report, stop.exit_code, how.skip_bad))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
