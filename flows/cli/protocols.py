"""Commands about who may be trained on: `protocol` counts splits, `leakage` compares the sides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    end,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from nightrain.datasets.protocols.leakage import Overlap
    from nightrain.datasets.protocols.published import ProtocolReport

NUM_SHOWN = 20

app = typer.Typer(
    help="Count what a published protocol counts, in the data that is here. Counts that differ are "
    "said, and no failure.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Argument(help="Folder of the data set")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON")]


@app.command("nuscenes")
def nuscenes(
    root: Root,
    version: Annotated[str, typer.Option(help="Folder of the tables")] = "v1.0-trainval",
    json: AsJson = False,
) -> None:
    """md4all's split of nuScenes: 491 train scenes, 15,129 frames; val 4,449, 602 and 968."""
    from nightrain.datasets.protocols.published import (
        MD4ALL_NUSCENES,
        count_protocol,
        doubtful_scenes,
    )
    from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
    from nightrain.datasets.sources.nuscenes.source import NuScenesSource
    from nightrain.datasets.sources.scene_conditions import official_scene_splits

    source = NuScenesSource(
        NuScenesConfig(root=root, version=version, cameras=("CAM_FRONT",), neighbours=False)
    )
    report = count_protocol(MD4ALL_NUSCENES, source)
    if source.name == MD4ALL_NUSCENES.source:
        report.doubtful_scenes = doubtful_scenes(root, version, official_scene_splits())
    _print_protocol(report, json)


@app.command("robotcar")
def robotcar(
    root: Root,
    sdk: Annotated[Path, typer.Option(help="Folder with models/, extrinsics/ and tags/")],
    splits: Annotated[Path, typer.Option(help="Folder of the split files")],
    json: AsJson = False,
) -> None:
    """md4all's split of RobotCar: test 702 and 709, 17,790 triplets, 16,563 after the filter."""
    from nightrain.datasets.protocols.published import MD4ALL_ROBOTCAR, count_protocol
    from nightrain.datasets.sources.robotcar.config import RobotCarConfig
    from nightrain.datasets.sources.robotcar.source import RobotCarSource

    source = RobotCarSource(RobotCarConfig(root=root, sdk=sdk, splits=splits, skip_bad=True))
    _print_protocol(count_protocol(MD4ALL_ROBOTCAR, source), json)


@app.command("kitti")
def kitti(
    root: Root,
    split_files: Annotated[Path, typer.Option(help="Folder of the split files")],
    improved: Annotated[bool, typer.Option(help="With the improved ground truth: 652")] = False,
    json: AsJson = False,
) -> None:
    """Eigen's test images of KITTI: 697, of which 652 have the improved ground truth."""
    from nightrain.datasets.protocols.published import (
        KITTI_EIGEN,
        KITTI_EIGEN_IMPROVED,
        count_protocol,
    )
    from nightrain.datasets.sources.kitti.config import KittiConfig
    from nightrain.datasets.sources.kitti.source import KittiSource

    source = KittiSource(
        KittiConfig(
            root=root,
            split_files=split_files,
            ground_truth="improved" if improved else "velodyne",
            skip_bad=True,
        )
    )
    protocol = KITTI_EIGEN_IMPROVED if improved else KITTI_EIGEN
    _print_protocol(count_protocol(protocol, source), json)


def leakage(
    datasets: Annotated[
        list[Path], typer.Argument(help="Datasets that are used together", exists=True)
    ],
    max_bits: Annotated[
        int, typer.Option(min=0, max=100, help="Of 256 bits, by which near-duplicates differ")
    ] = 48,
    allow_shared_logs: Annotated[
        bool, typer.Option("--allow-shared-logs", help="Let logs of both sides through")
    ] = False,
    allow_near_duplicates: Annotated[
        bool, typer.Option("--allow-near-duplicates", help="Let near-duplicates through")
    ] = False,
    json: AsJson = False,
) -> None:
    """Look for scenes, logs and pictures of train in val and test; exit code 3 if there are any."""
    from nightrain.datasets.protocols.leakage import (
        FrameSet,
        find_overlaps,
        leakage_report,
        read_set,
    )
    from nightrain.datasets.shards.manifest import FRAMES, Manifest
    from nightrain.datasets.sources.scene_conditions import SPLITS

    entries = [e for root in datasets for e in Manifest(root).entries(FRAMES)]
    total = sum(e.rows.num_rows for e in entries if e.about.get("split") in SPLITS)
    with progress_bar("images", total, not json) as bar:
        train, held_out = (
            sum((read_set(root, s, on_rows=bar.add) for root in datasets), FrameSet())
            for s in (("train",), ("val", "test"))
        )
    overlaps = find_overlaps(
        train,
        held_out,
        allow_shared_logs=allow_shared_logs,
        allow_near_duplicates=allow_near_duplicates,
        max_bits=max_bits,
    )
    report = leakage_report(train, held_out, overlaps)
    if json:
        print_json(report)
    else:
        _print_overlaps(report.overlaps)
        console().print(report.statement)
    end(0 if report.disjoint else EXIT_INCOMPLETE)


def _print_protocol(report: ProtocolReport, json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    if json:
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
