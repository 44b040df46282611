"""Published protocols as data, and the corresponding counts of a data set on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.datasets.sources import scene_conditions as splits
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.nuscenes.tables import MAX_TABLE_BYTES

ANY_CONDITION = tuple(Condition)
NIGHTS = (Condition.NIGHT, Condition.NIGHT_RAIN)  # the published counts' nights


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Published number, and the selection of frames or scenes that it counts."""

    name: str
    published: int
    select: str  # split passed to FrameSource.select: "train" is filtered, "all" is not
    split: str
    conditions: tuple[Condition, ...] = ANY_CONDITION
    unit: Literal["frames", "scenes"] = "frames"

    def of(self, refs: Sequence[FrameRef]) -> int:
        """Count the selected frames, or their scenes."""
        kept = [r for r in refs if r.split == self.split and r.condition in self.conditions]
        return len({r.scene_id for r in kept}) if self.unit == "scenes" else len(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Published split of a data set, with its published numbers."""

    name: str
    source: str  # FrameSource.name
    published_in: str
    counts: tuple[Count, ...]
    num_scenes: int | None = None  # in train and val together; None if the split is not by scenes


def _scenes(name: str, published: int, split: str, condition: Condition) -> Count:
    return Count(
        name=f"{name} scenes",
        published=published,
        select="all",
        split=split,
        conditions=(condition,),
        unit="scenes",
    )


def _frames(
    name: str, published: int, split: str, conditions: tuple[Condition, ...] = ANY_CONDITION
) -> Count:
    return Count(
        name=f"{name} frames",
        published=published,
        select=split,
        split=split,
        conditions=conditions,
    )


MD4ALL_NUSCENES = Protocol(
    name="md4all-nuscenes",
    source="nuscenes",
    published_in="md4all (Gasperini et al., ICCV 2023): issues 6 and 9 of its repository",
    num_scenes=850,
    counts=(
        _scenes("train day-clear", 491, "train", Condition.CLEAR),
        _scenes("val day-clear", 111, "val", Condition.CLEAR),
        _scenes("val day-rain", 24, "val", Condition.RAIN),
        _scenes("val night-clear", 12, "val", Condition.NIGHT),
        _scenes("val night-rain", 3, "val", Condition.NIGHT_RAIN),
        _frames("train day-clear moving", 15_129, "train"),
        _frames("val day-clear", 4_449, "val", (Condition.CLEAR,)),
        _frames("val night, rainy or not", 602, "val", NIGHTS),
        _frames("val night-rain, of the night", 120, "val", (Condition.NIGHT_RAIN,)),
        _frames("val day-rain", 968, "val", (Condition.RAIN,)),
    ),
)
MD4ALL_ROBOTCAR = Protocol(
    name="md4all-robotcar",
    source="robotcar",
    published_in="md4all (ICCV 2023); split files of AllDay-DeMoN (MIT), which have these counts",
    counts=(
        _frames("day test", 702, "test", (Condition.CLEAR,)),
        _frames("night test", 709, "test", NIGHTS),
        Count(name="day train triplets", published=17_790, select="all", split="train"),
        Count(name="day train, filtered", published=16_563, select="train", split="train"),
    ),
)
KITTI_EIGEN = Protocol(
    name="kitti-eigen",
    source="kitti",
    published_in="Eigen et al., NIPS 2014: test images of 28 drives with raw velodyne depth",
    counts=(_frames("test", 697, "test"),),
)
KITTI_EIGEN_IMPROVED = Protocol(
    name="kitti-eigen-improved",
    source="kitti",
    published_in="Uhrig et al., 3DV 2017: those of the 697 that have the improved ground truth",
    counts=(_frames("test", 652, "test"),),
)
PROTOCOLS = (MD4ALL_NUSCENES, MD4ALL_ROBOTCAR, KITTI_EIGEN, KITTI_EIGEN_IMPROVED)


def has_published_splits(source: FrameSource) -> bool:
    """Whether a source's splits are those of a publication."""
    published = any(protocol.source == source.name for protocol in PROTOCOLS)
    return published and not source.own_splits


class Counted(BaseModel):
    """Published number of a protocol and the count on disk."""

    name: str
    published: int
    here: int


class DoubtfulScene(BaseModel):
    """Scene with different conditions by md4all's substrings and by whole words."""

    scene: str
    split: str
    description: str
    by_md4all: Condition
    by_words: Condition


class ProtocolReport(BaseModel):
    """Published and counted numbers of a protocol, with a sentence on how they differ."""

    protocol: str
    published_in: str
    counts: list[Counted]
    agrees: bool
    num_absent: int = 0  # counted frames that are listed but not on disk
    statement: str
    doubtful_scenes: list[DoubtfulScene] = []


def count_protocol(protocol: Protocol, source: FrameSource) -> ProtocolReport:
    """Count a protocol's frames and scenes with the source's own reader; raises BrokenSource.

    Listed frames are counted; the number of absent ones is reported separately.
    """
    refs = {select: source.select(select) for select in {c.select for c in protocol.counts}}
    counts = [
        Counted(name=c.name, published=c.published, here=c.of(refs[c.select]))
        for c in protocol.counts
    ]
    num_absent = len(source.absent & {r.source_id for found in refs.values() for r in found})
    num_scenes = len({r.scene_id for r in refs.get("all", ()) if r.split in ("train", "val")})
    return ProtocolReport(
        protocol=protocol.name,
        published_in=protocol.published_in,
        counts=counts,
        agrees=source.name == protocol.source
        and has_published_splits(source)
        and all(c.here == c.published for c in counts)
        and not num_absent,
        num_absent=num_absent,
        statement=_statement(protocol, source, counts, num_scenes)
        + (f" {num_absent:,} of the counted frames are listed but not on disk." * bool(num_absent)),
    )


def doubtful_scenes(
    root: Path, version: str, split_of_scene: Mapping[str, str]
) -> list[DoubtfulScene]:
    """Scenes of these splits to which md4all's substrings and whole words give other conditions.

    Raises BrokenSource.
    """
    try:
        scenes = json.loads(read_bytes(root, f"{version}/scene.json", MAX_TABLE_BYTES))
    except (DamagedInput, ValueError, RecursionError) as error:
        raise BrokenSource(f"table {version}/scene.json cannot be read: {error}") from error
    doubtful = []
    for scene in scenes if isinstance(scenes, list) else ():
        record = scene if isinstance(scene, dict) else {}
        name, text = record.get("name"), record.get("description")
        if not isinstance(name, str) or not isinstance(text, str) or name not in split_of_scene:
            continue
        by_md4all, by_words = splits.condition_by_md4all(text), splits.condition_by_words(text)
        if by_md4all != by_words:
            doubtful.append(
                DoubtfulScene(
                    scene=name,
                    split=split_of_scene[name],
                    description=text,
                    by_md4all=by_md4all,
                    by_words=by_words,
                )
            )
    return doubtful


def _statement(
    protocol: Protocol, source: FrameSource, counts: Sequence[Counted], num_scenes: int
) -> str:
    differing = [c for c in counts if c.here != c.published]
    if source.name != protocol.source:
        return (
            f"This is the data set {source.name!r}; the published numbers are of "
            f"{protocol.source!r} and are shown for comparison only."
        )
    found = f"{len(differing)} of {len(counts)} counts differ from the published ones"
    if not has_published_splits(source):
        return f"{found}; this version has its own splits.json instead of the published splits."
    if not differing:
        return f"All {len(counts)} counts are as published."
    if protocol.num_scenes is None:
        return f"{found}: the split files or the recordings here are different or incomplete."
    if num_scenes != protocol.num_scenes:
        return (
            f"The tables here hold {num_scenes} of {protocol.num_scenes} scenes, so {found}. "
            "What is present is correct; comparisons with published tables need the other scenes."
        )
    return (
        f"{found}, although all {num_scenes} scenes are present: the descriptions, keyframes or "
        "poses of these tables differ from the published ones. Unpack the metadata again."
    )
