"""Rows of frames to rows of labels, a batch at a time."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.io.images import (
    DEPTH_SCALE,
    MAX_DEPTH_M,
    encode_confidence_png,
    encode_depth_png,
)
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.depthmodel.evaluation.confidence import flip_confidence, photometric_confidence
from nightrain.pipelines.labels.labelling_model import Teacher
from nightrain.pipelines.labels.predict_batch import predict_each
from nightrain.pipelines.labels.settings import LabelSettings
from nightrain.pipelines.labels.teacher_view import Picture, neighbour_views, picture_of

ORIGIN = ("source_id", "source_dataset", "split", "scene_id", "camera", "condition", "timestamp_us")
NAMED = ("frame_id", *ORIGIN, "licence", "attribution")
CONFIDENT = 0.5  # confidence from which a pixel counts in the column confident_share


@dataclass(frozen=True)
class Labeller:
    """Labels frames with one teacher; `teacher_sha256` is its digest, asked for once."""

    teacher: Teacher
    teacher_sha256: str
    settings: LabelSettings

    def label(self, batch: Sequence[Row], kept: dict[str, Row]) -> list[Row | DamagedInput]:
        """A label's row or a failure per frame's row; those kept by their id are not made again.

        Raises InvalidRequest, DiskFull.
        """
        started = time.perf_counter()
        made: list[Row | DamagedInput] = []
        pictures: dict[int, Picture] = {}
        for index, row in enumerate(batch):
            before = kept.get(row["frame_id"])
            if before is not None and before["depth"] is not None:
                made.append(before)
                continue
            made.append(self.empty_row(row))
            try:
                pictures[index] = picture_of(row, self.settings.size)
            except DamagedInput as error:
                made[index] = error
        depths, mirrored = self._predict([p.image for p in pictures.values()])
        for index, depth_m, mirrored_m in zip(pictures, depths, mirrored, strict=True):
            made[index] = self._row(batch[index], pictures[index], depth_m, mirrored_m)
        seconds = (time.perf_counter() - started) / max(1, len(pictures))
        for index in pictures:
            if isinstance(row := made[index], dict):
                row["gen_seconds"] = seconds
        return made

    def empty_row(self, row: Row) -> Row:
        """What keeps the place of a frame that could not be labelled."""
        return {
            **self._named(row),
            "width": row["width"],
            "height": row["height"],
            "intrinsics": row["intrinsics"],
            "depth": None,
            "confidence": None,
            "confidence_source": None,
            "depth_share": 0.0,
            "confident_share": 0.0,
            "gen_seconds": 0.0,
        }

    def _predict(
        self, images: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray | DamagedInput], list[np.ndarray | DamagedInput]]:
        """Depth or failure of the pictures, and of their mirror images."""
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        size = self.settings.batch_size
        return predict_each(self.teacher, images, size), predict_each(self.teacher, mirrored, size)

    def _row(
        self,
        row: Row,
        picture: Picture,
        depth_m: np.ndarray | DamagedInput,
        mirrored_m: np.ndarray | DamagedInput,
    ) -> Row | DamagedInput:
        if isinstance(depth_m, DamagedInput):
            return depth_m
        if isinstance(mirrored_m, DamagedInput):
            return DamagedInput(mirrored_m.reason, f"of the mirrored picture: {mirrored_m}")
        confidence, source = self._confidence(picture, depth_m, mirrored_m)
        name = row["frame_id"]
        return {
            **self._named(row),
            "width": depth_m.shape[1],
            "height": depth_m.shape[0],
            "intrinsics": [float(x) for x in picture.intrinsics.ravel()],
            "depth": _png(encode_depth_png(depth_m), f"{name}.depth"),
            "confidence": _png(encode_confidence_png(confidence), f"{name}.confidence"),
            "confidence_source": source,
            "depth_share": float((depth_m <= MAX_DEPTH_M).mean()),
            "confident_share": float((confidence >= CONFIDENT).mean()),
        }

    def _confidence(
        self, picture: Picture, depth_m: np.ndarray, mirrored_m: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """Confidence (H, W) in [0, 1] and what it was judged by."""
        settings, source = self.settings, "flip"
        confidence = flip_confidence(depth_m, mirrored_m, settings.flip_scale)
        views = neighbour_views(picture) if settings.confidence == "flip+photometric" else []
        if views:
            source = "flip+photometric"
            confidence *= photometric_confidence(
                picture.image, depth_m, picture.intrinsics, views, settings.photometric_scale
            )
        return np.where(depth_m <= MAX_DEPTH_M, confidence, np.float32(0)), source

    def _named(self, row: Row) -> Row:
        return {
            **{name: row[name] for name in NAMED},
            "depth_scale": DEPTH_SCALE,
            "teacher": self.teacher.name,
            "teacher_sha256": self.teacher_sha256,
            "batch_size": self.settings.batch_size,
            "builds": _builds(),
            "device": getattr(self.teacher, "runs_on", "cpu"),
            "created_at": datetime.now(UTC),
            "schema_version": SCHEMA_VERSION,
        }


def _png(data: bytes, name: str) -> Row:
    return {"bytes": data, "path": f"{name}.png"}


@functools.cache
def _builds() -> str:
    """Versions of what the bytes of a label depend on."""
    names = ("nightrain", "numpy", "opencv-python-headless", "simplejpeg", "torch", "transformers")
    return ", ".join(f"{name} {version(name)}" for name in names)
