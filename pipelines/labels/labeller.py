"""Labeller: turns rows of frames into rows of labels, a batch at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.io.images import (
    DEPTH_SCALE,
    MAX_DEPTH_M,
    encode_confidence_png,
    encode_depth_png,
)
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import ORIGIN_COLUMNS, SCHEMA_VERSION
from nightrain.depthmodel.evaluation.confidence import flip_confidence, photometric_confidence
from nightrain.pipelines.labels.label_input import LabelInput, label_input, neighbour_views
from nightrain.pipelines.labels.labelling_model import LabellingModel
from nightrain.pipelines.labels.predict_batch import predict_each
from nightrain.pipelines.labels.settings import LabelSettings
from nightrain.pipelines.runs.builds import IMAGE_LIBRARIES, builds_of

COPIED_COLUMNS = ("frame_id", *ORIGIN_COLUMNS, "licence", "attribution")
CONFIDENT = 0.5  # least confidence of pixels that count in the column confident_share


@dataclass(frozen=True)
class Labeller:
    """Labels frames with one model; `model_sha256` is its digest, computed once."""

    model: LabellingModel
    model_sha256: str
    settings: LabelSettings

    def label(self, batch: Sequence[Row], kept: dict[str, Row]) -> list[Row | DamagedInput]:
        """Return the row of a label, or a failure, for the row of each frame.

        `kept` contains rows, by frame id, that an interrupted run finished; those are returned
        unchanged. Raises InvalidRequest, DiskFull.
        """
        started = time.perf_counter()
        results: list[Row | DamagedInput] = []
        inputs: dict[int, LabelInput] = {}
        for index, row in enumerate(batch):
            before = kept.get(row["frame_id"])
            if before is not None and before["depth"] is not None:
                results.append(before)
                continue
            results.append(self.empty_row(row))
            try:
                inputs[index] = label_input(row, self.settings.size)
            except DamagedInput as error:
                results[index] = error
        depths, mirrored = self._predict([given.image for given in inputs.values()])
        for index, depth_m, mirrored_m in zip(inputs, depths, mirrored, strict=True):
            results[index] = self._row(batch[index], inputs[index], depth_m, mirrored_m)
        seconds = (time.perf_counter() - started) / max(1, len(inputs))
        for index in inputs:
            if isinstance(row := results[index], dict):
                row["gen_seconds"] = seconds
        return results

    def empty_row(self, row: Row) -> Row:
        """Return a row without depth, the placeholder of a frame that failed."""
        return {
            **self._common_columns(row),
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
        """Predict depth or a failure for each image and each mirrored image."""
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        size = self.settings.batch_size
        return predict_each(self.model, images, size), predict_each(self.model, mirrored, size)

    def _row(
        self,
        row: Row,
        given: LabelInput,
        depth_m: np.ndarray | DamagedInput,
        mirrored_m: np.ndarray | DamagedInput,
    ) -> Row | DamagedInput:
        if isinstance(depth_m, DamagedInput):
            return depth_m
        if isinstance(mirrored_m, DamagedInput):
            return DamagedInput(mirrored_m.reason, f"of the mirrored image: {mirrored_m}")
        confidence, source = self._confidence(given, depth_m, mirrored_m)
        name = row["frame_id"]
        return {
            **self._common_columns(row),
            "width": depth_m.shape[1],
            "height": depth_m.shape[0],
            "intrinsics": [float(x) for x in given.intrinsics.ravel()],
            "depth": _png(encode_depth_png(depth_m), f"{name}.depth"),
            "confidence": _png(encode_confidence_png(confidence), f"{name}.confidence"),
            "confidence_source": source,
            "depth_share": float((depth_m <= MAX_DEPTH_M).mean()),
            "confident_share": float((confidence >= CONFIDENT).mean()),
        }

    def _confidence(
        self, given: LabelInput, depth_m: np.ndarray, mirrored_m: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """Confidence (H, W) in [0, 1], and the checks that it is based on."""
        settings, source = self.settings, "flip"
        confidence = flip_confidence(depth_m, mirrored_m, settings.flip_scale)
        views = neighbour_views(given) if settings.confidence == "flip+photometric" else []
        if views:
            source = "flip+photometric"
            confidence *= photometric_confidence(
                given.image, depth_m, given.intrinsics, views, settings.photometric_scale
            )
        return np.where(depth_m <= MAX_DEPTH_M, confidence, np.float32(0)), source

    def _common_columns(self, row: Row) -> Row:
        return {
            **{name: row[name] for name in COPIED_COLUMNS},
            "depth_scale": DEPTH_SCALE,
            "teacher": self.model.name,
            "teacher_sha256": self.model_sha256,
            "batch_size": self.settings.batch_size,
            "builds": builds_of((*IMAGE_LIBRARIES, "torch", "transformers")),
            "device": self.model.runs_on,
            "created_at": datetime.now(UTC),
            "schema_version": SCHEMA_VERSION,
        }


def _png(data: bytes, name: str) -> Row:
    return {"bytes": data, "path": f"{name}.png"}
