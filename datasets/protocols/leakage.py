"""Leakage check: training data must not recur in validation or test.

It looks for shared scenes, shared logs (the drives that scenes are cut from) and near-duplicate
images. Two drives through the same place are not detected, because their images differ too much.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.protocols.perceptual_hash import (
    NEAR_DUPLICATE_BITS,
    NUM_BITS,
    near_pairs,
    perceptual_hash,
)
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import read_scalars

MAX_NAMED = 3
LOG_OF_SCENE = "log_of_scene"  # keys of Entry.about
SPLITS_BY = "splits_by"
PUBLISHED, OWN = "publication", "owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneIdentity:
    """Identity of a scene; `published` means that its split comes from a publication."""

    source: str
    scene_id: str
    log_id: str = ""
    published: bool = False

    @property
    def drive(self) -> str:
        """Log of the scene, or the scene itself if it is a whole drive."""
        return self.log_id or self.scene_id

    def is_same(self, other: "SceneIdentity") -> bool:
        """Whether both are the same scene; worlds of other seeds repeat scene names, not logs."""
        logs = {self.log_id, other.log_id} - {""}
        return (self.source, self.scene_id) == (other.source, other.scene_id) and len(logs) < 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameSet:
    """Frames on one side of a split, with the hashes of the images to compare."""

    scenes: frozenset[SceneIdentity] = frozenset()
    frame_ids: tuple[str, ...] = ()
    scene_of: tuple[str, ...] = ()  # by frame, for messages
    hashes: np.ndarray = field(  # (N, 32) uint8, or (0, 32): images are not compared
        default_factory=lambda: np.zeros((0, NUM_BITS // 8), np.uint8)
    )

    def __add__(self, other: "FrameSet") -> "FrameSet":
        return FrameSet(
            scenes=self.scenes | other.scenes,
            frame_ids=self.frame_ids + other.frame_ids,
            scene_of=self.scene_of + other.scene_of,
            hashes=np.concatenate([self.hashes, other.hashes]),
        )


class Overlap(BaseModel):
    """Something on both sides; `allowed` says why it is accepted, "" if it is not."""

    kind: Literal["frame", "scene", "log", "near-duplicate"]
    train: str
    held_out: str
    bits: int | None = None
    allowed: str = ""

    def __str__(self) -> str:
        if self.kind == "near-duplicate":
            return f"{self.train} and {self.held_out} differ in {self.bits} of {NUM_BITS} bits"
        return f"{self.kind} {self.train} is also {self.held_out}"


class LeakageReport(BaseModel):
    """Result of a leakage check: numbers of frames and all overlaps."""

    num_train: int
    num_held_out: int
    disjoint: bool
    statement: str
    overlaps: list[Overlap]


def refs_set(refs: Iterable[FrameRef], source: str, published: bool) -> FrameSet:
    """One side of a split, from listed frames; their images are not compared."""
    names = {(ref.scene_id, ref.log_id) for ref in refs}
    return FrameSet(
        scenes=frozenset(
            SceneIdentity(source=source, scene_id=scene, log_id=log, published=published)
            for scene, log in names
        )
    )


def read_set(
    root: Path,
    splits: Collection[str],
    *,
    images: bool = True,
    on_rows: Callable[[int], None] = lambda _: None,
) -> FrameSet:
    """One side of a split, from a dataset's committed frames; raises CorruptShard."""
    manifest = Manifest(root)
    entries = [e for e in manifest.entries(FRAMES) if e.about.get("split", "none") in splits]
    both = FrameSet(scenes=frozenset(scene for e in entries for scene in scenes_of(manifest, e)))
    if not images:
        return both
    ids, scene_of, hashes = [], [], []
    for entry in entries:
        for row in manifest.reader(entry.rows).rows(["frame_id", "scene_id", "image"]):
            ids.append(row["frame_id"])
            scene_of.append(row["scene_id"])
            hashes.append(perceptual_hash(decode_jpeg(row["image"]["bytes"])))
            on_rows(1)
    return both + FrameSet(
        frame_ids=tuple(ids),
        scene_of=tuple(scene_of),
        hashes=np.array(hashes, np.uint8).reshape(-1, NUM_BITS // 8),
    )


def find_overlaps(
    train: FrameSet,
    held_out: FrameSet,
    *,
    allow_shared_logs: bool = False,
    allow_near_duplicates: bool = False,
    max_bits: int = NEAR_DUPLICATE_BITS,
) -> list[Overlap]:
    """Find all overlaps of both sides, accepted or not.

    A log on both sides is accepted if a publication splits it that way, as nuScenes does with a few
    logs and RobotCar with its day traverse. A frame or scene on both sides is never accepted.
    """
    accepted = "near-duplicates are allowed" if allow_near_duplicates else ""
    return [
        *_shared_frames(train, held_out),
        *_shared_scenes(train, held_out),
        *_shared_logs(train, held_out, allow_shared_logs),
        *(
            Overlap(
                kind="near-duplicate",
                train=f"{train.frame_ids[i]} ({train.scene_of[i]})",
                held_out=f"{held_out.frame_ids[j]} ({held_out.scene_of[j]})",
                bits=bits,
                allowed=accepted,
            )
            for i, j, bits in near_pairs(train.hashes, held_out.hashes, max_bits)
            if train.frame_ids[i] != held_out.frame_ids[j]
        ),
    ]


def require_disjoint(
    train: FrameSet,
    held_out: FrameSet,
    *,
    allow_shared_logs: bool = False,
    allow_near_duplicates: bool = False,
    max_bits: int = NEAR_DUPLICATE_BITS,
) -> list[Overlap]:
    """Return the accepted overlaps; raises InvalidRequest if there is any other."""
    overlaps = find_overlaps(
        train,
        held_out,
        allow_shared_logs=allow_shared_logs,
        allow_near_duplicates=allow_near_duplicates,
        max_bits=max_bits,
    )
    if refused := [o for o in overlaps if not o.allowed]:
        raise InvalidRequest(refusal(refused))
    return overlaps


def leakage_report(
    train: FrameSet, held_out: FrameSet, overlaps: Sequence[Overlap]
) -> LeakageReport:
    """Report on overlaps, with a summary sentence; refused overlaps come first."""
    refused = [o for o in overlaps if not o.allowed]
    num_train, num_held_out = len(train.frame_ids), len(held_out.frame_ids)
    compared = f"{num_train} train frames and {num_held_out} of val and test"
    if not num_train or not num_held_out:
        statement = f"There is nothing to compare: {compared}."
    elif refused:
        statement = refusal(refused)
    else:
        exceptions = f" (allowed overlaps: {len(overlaps)})" if overlaps else ""
        statement = f"{compared} are disjoint{exceptions}."
    return LeakageReport(
        num_train=num_train,
        num_held_out=num_held_out,
        disjoint=not refused,
        statement=statement,
        overlaps=sorted(overlaps, key=lambda o: bool(o.allowed)),
    )


def refusal(refused: Sequence[Overlap]) -> str:
    """Error message for refused overlaps: counts, the first few by name, and what to do."""
    kinds = [o.kind for o in refused]
    counts = ", ".join(f"{kinds.count(kind)} by {kind}" for kind in dict.fromkeys(kinds))
    first = "; ".join(str(o) for o in refused[:MAX_NAMED])
    advice = "Put each scene, with all scenes of its log, on one side."
    if "log" in kinds:
        advice += " Pass --allow-shared-logs to accept shared logs."
    if "near-duplicate" in kinds:
        advice += " Inspect the pairs; pass --allow-near-duplicates to accept them."
    more = ", ..." if len(refused) > MAX_NAMED else ""
    return f"Training and evaluation overlap ({counts}): {first}{more}. {advice}"


def describe_scenes(refs: Iterable[FrameRef], published: bool) -> dict[str, str]:
    """Scenes of a frames shard, as fields for its manifest entry, which `read_set` reads."""
    logs = {ref.scene_id: ref.log_id for ref in refs}
    return {
        LOG_OF_SCENE: json.dumps(logs, sort_keys=True),
        SPLITS_BY: PUBLISHED if published else OWN,
    }


def scenes_of(manifest: Manifest, entry: Entry) -> Iterator[SceneIdentity]:
    """Yield the scenes of a frames shard from its manifest entry, else from its rows.

    Raises CorruptShard.
    """
    if LOG_OF_SCENE in entry.about:
        logs: dict[str, str] = json.loads(entry.about[LOG_OF_SCENE])
    else:
        scenes = read_scalars(manifest.root / entry.rows.path, ["scene_id"]).column(0)
        logs = dict.fromkeys(scenes.unique().to_pylist(), "")
    for scene_id, log_id in logs.items():
        yield SceneIdentity(
            source=entry.about.get("source", ""),
            scene_id=scene_id,
            log_id=log_id,
            published=entry.about.get(SPLITS_BY) == PUBLISHED,
        )


def _shared_frames(train: FrameSet, held_out: FrameSet) -> Iterator[Overlap]:
    for frame in sorted({*train.frame_ids} & {*held_out.frame_ids}):
        yield Overlap(kind="frame", train=frame, held_out="held out")


def _shared_scenes(train: FrameSet, held_out: FrameSet) -> Iterator[Overlap]:
    by_name = _grouped(held_out.scenes, lambda s: (s.source, s.scene_id))
    for scene in sorted(train.scenes, key=lambda s: (s.source, s.scene_id)):
        for other in by_name.get((scene.source, scene.scene_id), ()):
            if scene.is_same(other):
                is_drive = scene.drive == scene.scene_id
                published = scene.published and other.published and is_drive
                yield Overlap(
                    kind="scene",
                    train=f"{scene.scene_id} of {scene.source}",
                    held_out="held out",
                    allowed="the published splits cut this drive in two" if published else "",
                )


def _shared_logs(train: FrameSet, held_out: FrameSet, allow: bool) -> Iterator[Overlap]:
    """Yield one overlap per log that scenes on both sides are cut from."""
    sides = [_grouped(s.scenes, lambda s: (s.source, s.drive)) for s in (train, held_out)]
    for source, drive in sorted(sides[0].keys() & sides[1].keys()):
        ours, theirs = (side[source, drive] for side in sides)
        if all(a.is_same(b) for a in ours for b in theirs):
            continue  # reported as a scene on both sides
        published = all(scene.published for scene in (*ours, *theirs))
        allowed = "shared logs are allowed" if allow else ""
        yield Overlap(
            kind="log",
            train=f"{drive} of {source} (train: {_names(ours)})",
            held_out=f"held out ({_names(theirs)})",
            allowed="the published splits share this log" if published else allowed,
        )


def _grouped(
    scenes: Iterable[SceneIdentity], key: Callable[[SceneIdentity], tuple[str, str]]
) -> dict[tuple[str, str], list[SceneIdentity]]:
    groups: dict[tuple[str, str], list[SceneIdentity]] = {}
    for scene in sorted(scenes, key=lambda s: s.scene_id):
        groups.setdefault(key(scene), []).append(scene)
    return groups


def _names(scenes: Sequence[SceneIdentity]) -> str:
    more = f" and {len(scenes) - 1} more" if len(scenes) > 1 else ""
    return f"{scenes[0].scene_id}{more}"
