"""Evaluation frames: images of a split with their ground-truth depth, from committed shards."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row, ShardReader
from nightrain.datasets.splits import Split, is_in_split
from nightrain.depthmodel.evaluation.settings import TRUTH_COLUMN, Truth

COLUMNS = ("frame_id", "source_dataset", "scene_id", "condition", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFrame:
    """An image and its ground-truth depth, None where it has none."""

    frame_id: str
    source_dataset: str
    scene_id: str
    drive_id: str  # a nuScenes log or a place of the world; its scenes show the same streets
    condition: Condition
    image: np.ndarray  # (H, W, 3) uint8, sRGB
    truth_m: np.ndarray | None  # (H, W) float32, metres, 0 = none
    sha256: str  # of image and truth as they are stored


class EvaluationFrames:
    """Sequence of the frames of a split, in the order of the manifest.

    Raises InvalidRequest where the dataset has no such frame.
    """

    def __init__(
        self, root: Path, *, split: Split, truth: Truth, cameras: tuple[str, ...] = ()
    ) -> None:
        self._manifest = Manifest(root)
        self._column = TRUTH_COLUMN[truth]
        self._places: list[tuple[Entry, int]] = []
        self.frame_ids: list[str] = []
        self._drive_of: dict[str, str] = {}
        self._reader: ShardReader | None = None
        found: Counter[str] = Counter()
        for entry in self._manifest.entries(FRAMES):
            rows = self._manifest.reader(entry.rows).table(["frame_id", "split", "camera"])
            for scene in scenes_of(self._manifest, entry):
                self._drive_of[scene.scene_id] = scene.drive
            for index, row in enumerate(rows.to_pylist()):
                found[f"{row['split']} {row['camera']}"] += 1
                if is_in_split(row["split"], split) and (not cameras or row["camera"] in cameras):
                    self._places.append((entry, index))
                    self.frame_ids.append(row["frame_id"])
        if not self._places:
            raise InvalidRequest(
                _no_frames_message(root, f"{split} {' or '.join(cameras)}".strip(), found)
            )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> TruthFrame:
        """Read and decode one frame; raises IndexError, CorruptShard, DamagedInput."""
        entry, row_index = self._places[index]
        if self._reader is None or self._reader.file != entry.rows:
            self._reader = self._manifest.reader(entry.rows)
        row = self._reader.row(row_index, [*COLUMNS, self._column])
        try:
            return self._frame(row)
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"frame {row['frame_id']}: {error}") from error

    def _frame(self, row: Row) -> TruthFrame:
        image, stored = decode_jpeg(row["image"]["bytes"]), row[self._column]
        truth_m = None if stored is None else decode_depth_png(stored["bytes"])
        if truth_m is not None and truth_m.shape != image.shape[:2]:
            raise DamagedInput(
                Reason.SIZE_MISMATCH, f"the image is {image.shape[:2]}, its depth {truth_m.shape}"
            )
        digest = hashlib.sha256(row["image"]["bytes"])
        digest.update(b"" if stored is None else stored["bytes"])
        return TruthFrame(
            frame_id=row["frame_id"],
            source_dataset=row["source_dataset"],
            scene_id=row["scene_id"],
            drive_id=self._drive_of[row["scene_id"]],
            condition=Condition(row["condition"]),
            image=image,
            truth_m=truth_m,
            sha256=digest.hexdigest(),
        )


def _no_frames_message(root: Path, wanted: str, found: Counter[str]) -> str:
    if not found:
        return f"{root} holds no committed frames. Run `nightrain ingest` first."
    there = ", ".join(f"{count} of {name}" for name, count in sorted(found.items()))
    return f"{root} holds no frame of {wanted}; it holds {there}. Choose a split and cameras of it."
