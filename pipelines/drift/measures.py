"""Measures of rows whose distributions are compared: the picture, severity, scores of gates."""

import json
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from nightrain.datasets.io.images import decode_jpeg

WIDTH = 320  # pixels to which pictures are reduced, so that sizes do not matter


def measures_of(rows: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Values (N,) of every measure by name; NaN where a row has none."""
    found = [_measures(row) for row in rows]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: np.array([one.get(name, np.nan) for one in found], float) for name in names}


def picture_measures(image: np.ndarray) -> dict[str, float]:
    """Measures of a picture (H, W, 3) uint8: luma, its span, colour, fine detail."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(luma, (5, 95))
    red, green, blue = small.reshape(-1, 3).mean(0)
    return {
        "luma": float(luma.mean()),
        "span of luma": float(high - low),
        "dark share": float((luma < 10).mean()),
        "red over blue": float((red + 1) / (blue + 1)),
        "green over red and blue": float((2 * green + 1) / (red + blue + 1)),
        "detail": float(cv2.Laplacian(luma, cv2.CV_32F).std()),
    }


def _measures(row: dict[str, Any]) -> dict[str, float]:
    found = picture_measures(decode_jpeg(row["image"]["bytes"]))
    if row.get("severity") is not None:
        found["severity"] = float(row["severity"])
    for name, value in (row.get("physical") or {}).items():
        if value is not None:
            found[name] = float(value)
    for gate, scores in json.loads(row.get("gate_scores") or "{}").items():
        found |= {f"{gate}.{name}": float(value) for name, value in scores.items()}
    return found
