"""What decides the bytes of a label, beside the teacher and the picture."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from nightrain.datasets.shards.manifest import LABELS
from nightrain.pipelines.labels.labelling_model import Teacher

LABELS_VERSION = "1"  # raised when the same teacher and settings give other labels


class LabelSettings(BaseModel):
    """Size of the labels and how their confidence is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="(width, height) of the labels; None: of the frame's picture"
    )
    confidence: Literal["flip", "flip+photometric"] = "flip+photometric"
    flip_scale: float = Field(default=0.1, gt=0, description="|ln d - ln d'| of confidence 1/e")
    photometric_scale: float = Field(default=0.005, gt=0, description="error that counts")
    batch_size: int = Field(default=8, ge=1, le=1024, description="pictures a teacher gets at once")


def labels_table(teacher: Teacher, settings: LabelSettings) -> str:
    """Table of a teacher's labels: "labels/ssd-t-1a2b3c4d"; another digest is another table.

    Raises InvalidRequest without the teacher's weights.
    """
    parts = "\n".join((teacher.digest, settings.model_dump_json(), LABELS_VERSION))
    return f"{LABELS}/{teacher.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"
