"""Recorded twins: frames of the same place, camera and time under another condition.

The built-in world drives a place again under other weather, with the same traffic and times. So a
twin has the geometry of the clear frame, and can take the place of a variant.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.splits import NO_SPLIT, Split, is_in_split


class TwinKey(NamedTuple):
    """What twins share: the drive, the camera and the time."""

    drive: str
    camera: str
    timestamp_us: int


class Recorded(NamedTuple):
    """A recorded frame, and where it is in its shard."""

    frame_id: str
    geometry: TwinKey
    condition: Condition
    entry: Entry
    row: int


def recorded_frames(root: Path, split: Split) -> list[Recorded]:
    """List the frames of a split with their geometry, in the order of the manifest.

    Raises CorruptShard.
    """
    manifest = Manifest(root)
    columns = ["frame_id", "scene_id", "camera", "timestamp_us"]
    found = []
    for entry in manifest.entries(FRAMES):
        if not is_in_split(entry.about.get("split", NO_SPLIT), split) or not entry.rows.num_rows:
            continue
        drive_of = {scene.scene_id: scene.drive for scene in scenes_of(manifest, entry)}
        for row, values in enumerate(manifest.reader(entry.rows).table(columns).to_pylist()):
            drive, condition = drive_of[values["scene_id"]], Condition(entry.about["condition"])
            geometry = TwinKey(drive, values["camera"], values["timestamp_us"])
            found.append(Recorded(values["frame_id"], geometry, condition, entry, row))
    return found


def twins_of(
    root: Path, split: Split, frame_ids: np.ndarray, conditions: Sequence[Condition] | None
) -> list[tuple[int, Recorded]]:
    """Adverse twins of the clear ones of frames (N,), each with the position of its frame.

    `conditions` None takes all but clear. Raises InvalidRequest where no frame has a twin of a
    condition.
    """
    recorded = recorded_frames(root, split)
    place_of = {str(frame_id): place for place, frame_id in enumerate(frame_ids)}
    clear = [one for one in recorded if one.condition == Condition.CLEAR]
    position = {one.geometry: place_of[one.frame_id] for one in clear if one.frame_id in place_of}
    adverse = [one for one in recorded if one.condition != Condition.CLEAR]
    found = [(position[one.geometry], one) for one in adverse if one.geometry in position]
    wanted = None if conditions is None else set(conditions)
    found = [pair for pair in found if wanted is None or pair[1].condition in wanted]
    absent = sorted((wanted or set()) - {one.condition for _, one in found})
    if absent or not found:
        raise InvalidRequest(
            f"{root} has no recorded {' or '.join(absent) or 'adverse'} twins in split {split!r}: "
            "frames of the same place, camera and time as a clear frame. The built-in world "
            "renders twins; a real dataset has none."
        )
    order = list(Condition)
    return sorted(found, key=lambda pair: (pair[0], order.index(pair[1].condition)))
