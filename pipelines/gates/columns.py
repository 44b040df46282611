"""Columns of a variant's row that gates fill: their scores, earlier seeds and the confidence."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from nightrain.datasets.io.images import encode_confidence_png
from nightrain.pipelines.gates.apply import GateVerdict
from nightrain.pipelines.gates.object_confidence import object_confidence

GATE_COLUMNS = ("gates", "gate_scores", "rejected_seeds", "confidence", "object_confidence")
CONFIDENCE_PART = 4  # a confidence picture has a quarter of the variant's width and height


def gate_columns(
    gates: str | None,
    verdict: GateVerdict,
    rejected_seeds: Sequence[Mapping[str, Any]],
    depth_m: np.ndarray | None,
    size: tuple[int, int],
    sample_id: str,
) -> dict[str, Any]:
    """Return the columns of a variant of (width, height) pixels; all null without gates.

    `depth_m` (H, W), of any size, is that of the clear frame; the sky is inf.
    """
    if gates is None:
        return dict.fromkeys(GATE_COLUMNS)
    confidence = objects = None
    if verdict.confidence is not None:
        data = confidence_png(verdict.confidence, size)
        confidence = {"bytes": data, "path": f"{sample_id}.confidence.png"}
        if depth_m is not None:
            objects = object_confidence(verdict.confidence, depth_m, size)
    return {
        "gates": gates,
        "gate_scores": json.dumps(verdict.scores, sort_keys=True),
        "rejected_seeds": json.dumps(rejected_seeds, sort_keys=True) if rejected_seeds else None,
        "confidence": confidence,
        "object_confidence": objects,
    }


def confidence_png(confidence: np.ndarray, size: tuple[int, int]) -> bytes:
    """8-bit grey PNG of a confidence (h, w) in [0, 1], at a quarter of (width, height)."""
    small = tuple(max(1, side // CONFIDENCE_PART) for side in size)
    resized = cv2.resize(confidence.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    return encode_confidence_png(resized.clip(0, 1))
