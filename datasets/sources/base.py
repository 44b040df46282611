"""What every reader of a published data set offers to ingestion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """One frame that a source lists: enough to plan with, before any image is opened."""

    frame_id: str
    source_id: str
    split: str  # "train" | "val" | "test" | "none" (the source's protocol does not name the scene)
    scene_id: str
    camera: str
    condition: Condition
    timestamp_us: int
    log_id: str = ""  # the drive that the scene was cut out of; "": the scene is a drive of its own


class FrameSource(Protocol):
    """A data set on disk, read frame by frame."""

    name: str  # "nuscenes"; becomes Frame.source_dataset
    licence: str  # SPDX-like: "CC-BY-NC-SA-4.0"
    attribution: str  # one sentence

    def select(self, split: str) -> Sequence[FrameRef]:
        """The frames of a split, in an order that depends on the source alone.

        A record that is listed but broken keeps its place here and fails in `load`.
        Raises BrokenSource where the source as a whole cannot be read.
        """
        ...

    def load(self, ref: FrameRef) -> Frame:
        """Read one frame; raises DamagedInput with a reason code."""
        ...
