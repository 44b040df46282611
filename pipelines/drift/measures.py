"""Measures of rows whose distributions are compared: the picture, severity, scores of gates."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from nightrain.datasets.io.images import decode_jpeg
from nightrain.pipelines.inspect.picture_measures import picture_measures


def measures_of(rows: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Values (N,) of every measure by name; NaN where a row has none."""
    found = [_measures(row) for row in rows]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: np.array([one.get(name, np.nan) for one in found], float) for name in names}


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
