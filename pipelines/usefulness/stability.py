"""Stability without labels: how far predicted depth varies over images of one geometry.

Images of one geometry are a clear frame of the reported split, its recorded twins, and its variants
where the dataset has some. A constant varies by 0, so stability alone is not quality.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.loader.twins import Recorded, recorded_frames
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import select_tables
from nightrain.datasets.splits import Split
from nightrain.depthmodel.evaluation.evaluate import Predictor

MAX_GEOMETRIES = 60  # evenly spaced; each costs a prediction per image


class Stability(BaseModel):
    """Variation of depth over images of one geometry; the means are None without any."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model_digest: str = ""
    num_geometries: int
    num_images: int
    mean_dv: float | None  # mean variation over images, then over geometries; 0.1 is 10 %
    max_piv: float | None  # largest variation of an image, mean over geometries


class _Place(NamedTuple):
    """A row of a shard that holds an image."""

    file: ShardFile
    row: int


def variation(depths_m: Sequence[np.ndarray]) -> np.ndarray:
    """Variation (N,) of each of N depth maps (h, w) of one geometry, relative to their mean map.

    Source: docs/papers/study_statistics.md, eq. 7.
    """
    maps = np.stack(depths_m).astype(np.float64)
    mean = maps.mean(axis=0)
    return np.mean(np.abs(maps - mean) / mean, axis=(1, 2))


def measure_stability(
    predict: Predictor, dataset: Path, split: Split, variants: Sequence[str]
) -> Stability:
    """Measure MeanDV and MaxPIV of a predictor (docs/papers/study_statistics.md, eqs. 8 and 9).

    Raises CorruptShard.
    """
    manifest = Manifest(dataset)
    groups = list(_geometries(manifest, split, variants))
    step = max(1, -(-len(groups) // MAX_GEOMETRIES))
    found = []
    for places in groups[::step]:
        rows = [manifest.reader(place.file).row(place.row, ["image"]) for place in places]
        depths = predict([decode_jpeg(row["image"]["bytes"]) for row in rows])
        size = (depths[0].shape[1], depths[0].shape[0])
        found.append(variation([cv2.resize(d, size) for d in depths]))
    return Stability(
        num_geometries=len(found),
        num_images=sum(map(len, found)),
        mean_dv=float(np.mean([v.mean() for v in found])) if found else None,
        max_piv=float(np.mean([v.max() for v in found])) if found else None,
    )


def _geometries(
    manifest: Manifest, split: Split, variants: Sequence[str]
) -> Iterator[list[_Place]]:
    """Yield the images of each clear frame that has twins or variants, the clear one first."""
    recorded = recorded_frames(manifest.root, split)
    twins: dict[object, list[Recorded]] = {}
    for one in recorded:
        if one.condition != Condition.CLEAR:
            twins.setdefault(one.geometry, []).append(one)
    generated = _variants(manifest, variants)
    for clear in (one for one in recorded if one.condition == Condition.CLEAR):
        images = [clear, *twins.get(clear.geometry, ())]
        places = [_Place(one.entry.rows, one.row) for one in images]
        places += generated.get(clear.frame_id, [])
        if len(places) > 1:
            yield places


def _variants(manifest: Manifest, folders: Sequence[str]) -> dict[str, list[_Place]]:
    """Variants of every frame, by its frame_id."""
    found: dict[str, list[_Place]] = {}
    for table in (table for folder in folders for table in _tables(manifest, folder)):
        for entry in manifest.entries(table):
            ids = manifest.reader(entry.rows).table(["frame_id"]).column(0).to_pylist()
            for row, frame_id in enumerate(ids):
                found.setdefault(frame_id, []).append(_Place(entry.rows, row))
    return found


def _tables(manifest: Manifest, folder: str) -> list[str]:
    try:
        return select_tables(manifest, folder)
    except InvalidRequest:  # removed since the study began
        return []
