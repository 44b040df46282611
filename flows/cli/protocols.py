"""Split commands: `protocol` compares counts with published ones, `leakage` finds overlaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import EXIT_INCOMPLETE, console, end, print_json, progress_bar
from nightrain.flows.cli.group import LazyGroup
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command

if TYPE_CHECKING:
    from nightrain.datasets.protocols.leakage import Overlap
    from nightrain.datasets.protocols.published import ProtocolReport

NUM_SHOWN = 20

protocol = LazyGroup(
    "protocol",
    help="Compare a local data set's counts with those of a published protocol.\n\n"
    "Counts that differ are reported; they are not an error.",
    commands_at={
        "nuscenes": ("protocols", "Count md4all's splits of nuScenes."),
        "robotcar": ("protocols", "Count md4all's splits of RobotCar."),
        "kitti": ("protocols", "Count Eigen's test images of KITTI."),
    },
)


class RootOptions(Settings):
    """Option of every protocol."""

    root: Path = Field(
        description="Folder of the data set",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )


class NuScenesOptions(RootOptions):
    """Options of `nightrain protocol nuscenes`."""

    version: str = Field(default="v1.0-trainval", description="Folder of the tables")


class RobotCarOptions(RootOptions):
    """Options of `nightrain protocol robotcar`."""

    sdk: Path = Field(description="Folder with models/, extrinsics/ and tags/")
    splits: Path = Field(description="Folder of md4all's split files")


class KittiOptions(RootOptions):
    """Options of `nightrain protocol kitti`."""

    split_files: Path = Field(description="Folder of Eigen's split files")
    improved: bool = Field(default=False, description="Count images with improved ground truth")


class LeakageOptions(Settings):
    """Options of `nightrain leakage`."""

    datasets: tuple[Path, ...] = Field(
        description="Datasets to check together",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    styles: tuple[Path, ...] = Field(
        default=(),
        description="Style pools of recipes, whose images count as train images",
        json_schema_extra={"must_exist": True},
    )
    max_bits: int = Field(
        default=48, ge=0, le=100, description="Bits, of 256, in which near-duplicates may differ"
    )
    allow_shared_logs: bool = Field(
        default=False, description="Allow logs with both train and held-out frames"
    )
    allow_near_duplicates: bool = Field(default=False, description="Allow near-duplicates")


@command
def nuscenes(job: NuScenesOptions, output: OutputOptions) -> None:
    """Count md4all's splits of nuScenes.

    The published counts are 491 train scenes with 15,129 frames, and 4,449, 602 and 968 val frames
    by clear day, by night and in rain.
    """
    from nightrain.datasets.protocols.published import (
        MD4ALL_NUSCENES,
        count_protocol,
        doubtful_scenes,
    )
    from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
    from nightrain.datasets.sources.scene_conditions import official_scene_splits

    config = NuScenesConfig(
        root=job.root, version=job.version, cameras=("CAM_FRONT",), neighbours=False
    )
    source = config.open()
    report = count_protocol(MD4ALL_NUSCENES, source)
    if source.name == MD4ALL_NUSCENES.source:
        report.doubtful_scenes = doubtful_scenes(job.root, job.version, official_scene_splits())
    _print_protocol(report, output)


@command
def robotcar(job: RobotCarOptions, output: OutputOptions) -> None:
    """Count md4all's splits of RobotCar.

    The published counts are 702 and 709 test frames, and 17,790 train triplets, of which the
    filter keeps 16,563.
    """
    from nightrain.datasets.protocols.published import MD4ALL_ROBOTCAR, count_protocol
    from nightrain.datasets.sources.robotcar.config import RobotCarConfig

    config = RobotCarConfig(root=job.root, sdk=job.sdk, splits=job.splits, skip_bad=True)
    _print_protocol(count_protocol(MD4ALL_ROBOTCAR, config.open()), output)


@command
def kitti(job: KittiOptions, output: OutputOptions) -> None:
    """Count Eigen's test images of KITTI.

    The published counts are 697 images, of which 652 have improved ground truth.
    """
    from nightrain.datasets.protocols.published import (
        KITTI_EIGEN,
        KITTI_EIGEN_IMPROVED,
        count_protocol,
    )
    from nightrain.datasets.sources.kitti.config import KittiConfig

    config = KittiConfig(
        root=job.root,
        split_files=job.split_files,
        ground_truth="improved" if job.improved else "velodyne",
        skip_bad=True,
    )
    protocol = KITTI_EIGEN_IMPROVED if job.improved else KITTI_EIGEN
    _print_protocol(count_protocol(protocol, config.open()), output)


@command
def leakage(job: LeakageOptions, output: OutputOptions) -> None:
    """Find train scenes, logs and images that recur in val or test.

    The exit code is 3 if any are found.
    """
    from nightrain.datasets.protocols.leakage import (
        FrameSet,
        find_overlaps,
        leakage_report,
        read_set,
    )
    from nightrain.datasets.shards.manifest import FRAMES, Manifest
    from nightrain.datasets.splits import SPLITS
    from nightrain.pipelines.styles.leakage import style_set

    entries = [e for root in job.datasets for e in Manifest(root).entries(FRAMES)]
    total = sum(e.rows.num_rows for e in entries if e.about.get("split") in SPLITS)
    with progress_bar("images", total, not output.as_json) as bar:
        train, held_out = (
            sum((read_set(root, s, on_rows=bar.add) for root in job.datasets), FrameSet())
            for s in (("train",), ("val", "test"))
        )
    train = sum((style_set(pool) for pool in job.styles), train)
    overlaps = find_overlaps(
        train,
        held_out,
        allow_shared_logs=job.allow_shared_logs,
        allow_near_duplicates=job.allow_near_duplicates,
        max_bits=job.max_bits,
    )
    report = leakage_report(train, held_out, overlaps)
    if output.as_json:
        print_json(report)
    else:
        _print_overlaps(report.overlaps)
        console().print(report.statement)
    end(0 if report.disjoint else EXIT_INCOMPLETE)


def _print_protocol(report: ProtocolReport, output: OutputOptions) -> None:
    from rich.markup import escape
    from rich.table import Table

    if output.as_json:
        print_json(report)
        return
    out = console()
    table = Table(box=None, pad_edge=False)
    table.add_column(report.protocol)
    for name in ("published", "here", ""):
        table.add_column(name, justify="right")
    for c in report.counts:
        difference = f"{c.here - c.published:+,}" if c.here != c.published else "[green]=[/green]"
        table.add_row(c.name, f"{c.published:,}", f"{c.here:,}", difference)
    out.print(table)
    out.print(f"\npublished in {report.published_in}")
    out.print(report.statement)
    for scene in report.doubtful_scenes:
        out.print(
            f"[yellow]doubtful[/yellow]  {escape(scene.scene)} ({scene.split}) is "
            f"{scene.by_md4all} by md4all's substrings and {scene.by_words} by its words: "
            f"{escape(scene.description)}"
        )


def _print_overlaps(overlaps: list[Overlap]) -> None:
    from rich.markup import escape

    out = console()
    for overlap in overlaps[:NUM_SHOWN]:
        mark = "[yellow]allowed[/yellow]" if overlap.allowed else "[red]leak[/red]   "
        why = f": {overlap.allowed}" if overlap.allowed else ""
        out.print(f"{mark}  {escape(str(overlap))}{why}")
    if len(overlaps) > NUM_SHOWN:
        out.print(f"         and {len(overlaps) - NUM_SHOWN} more; --json lists all of them")
