"""Label settings: with the model and the image, they determine the bytes of a label."""

import hashlib
from typing import Literal

from pydantic import Field, PositiveInt

from nightrain.datasets.shards.manifest import LABELS
from nightrain.datasets.validation import Settings
from nightrain.pipelines.labels.labelling_model import LabellingModel

LABELS_VERSION = "1"  # increased when the same model and settings give other labels


class LabelSettings(Settings):
    """Size of the labels and how their confidence is computed."""

    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="Width and height of the labels (default: those of the frame)"
    )
    confidence: Literal["flip", "flip+photometric"] = Field(
        default="flip+photometric",
        description="Checks: flip compares the mirrored image, photometric the neighbouring images",
    )
    flip_scale: float = Field(
        default=0.1,
        gt=0,
        description="Log-depth difference from the mirrored image that gives confidence 1/e",
    )
    photometric_scale: float = Field(
        default=0.005,
        gt=0,
        description="Difference in photometric error that counts as evidence against a depth",
    )
    batch_size: int = Field(default=8, ge=1, le=1024, description="Images per batch")


def labels_table(model: LabellingModel, settings: LabelSettings) -> str:
    """Table of a model's labels: "labels/ssd-t-1a2b3c4d"; each digest has its own table.

    Raises InvalidRequest if the weights are missing.
    """
    parts = "\n".join((model.digest, settings.model_dump_json(), LABELS_VERSION))
    return f"{LABELS}/{model.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"
