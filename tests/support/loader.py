"""Ten frames joined with variants and labels, as the tests of the loader see them."""

import dataclasses
from pathlib import Path
from typing import Any

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.parquet import Row
from support.synthetic import SIZE, SyntheticSource, ingest_synthetic, recipe
from support.training import (
    NeighbourSource,
    add_labels,
    add_variants,
)

NUM_FRAMES = 10
RECIPE = recipe(Condition.NIGHT, Condition.FOG, variants_per_frame=2)
CONDITIONS = list(Condition)
HALF = (SIZE[0] // 2, SIZE[1] // 2)


class MixedSource(SyntheticSource):
    """Every second frame was taken at night."""

    def ref(self, index: int) -> Any:
        night = Condition.NIGHT if index % 2 else Condition.CLEAR
        return dataclasses.replace(super().ref(index), condition=night)


def make_root(folder: Path) -> Path:
    """Ten clear train frames in three shards with variants and labels; five val frames at night."""
    root = folder / "dataset"
    ingest_synthetic(root, NeighbourSource(NUM_FRAMES))
    add_variants(root, RECIPE)
    add_labels(root)
    return root


def config(**changes: Any) -> TrainingSetConfig:
    values = {"input_size": SIZE, "loss_size": HALF, "augmentation": None}
    return TrainingSetConfig.model_validate(values | changes)


def joined(root: Path, **changes: Any) -> TrainingSet:
    fields = {"recipes": (RECIPE.name,), "labels": "tiny", "neighbours": True}
    return TrainingSet(root, config(**fields | changes))


def frame_rows(root: Path) -> dict[str, Row]:
    manifest = Manifest(root)
    return {
        row["frame_id"]: row
        for entry in manifest.entries(FRAMES)
        for row in manifest.reader(entry.rows).rows()
    }


def flattened(batches: Any) -> list[tuple[Any, ...]]:
    """What the batches hold, sample by sample, with a fingerprint of the pixels."""
    found = []
    for batch in batches:
        for i, index in enumerate(batch["index"].tolist()):
            pixels = float(batch["image"][i].double().sum())
            found.append(
                (index, batch["sample_id"][i], pixels, float(batch["intrinsics"][i, 0, 2]))
            )
    return found
