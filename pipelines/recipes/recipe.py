"""Recipe: the settings that determine the bytes of a variant. Its hash names the output folder."""

import hashlib
import json
import operator
from typing import Annotated, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    model_validator,
)

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.engine_settings import EngineSettings, Size, at_width
from nightrain.pipelines.engines.registry import ENGINES
from nightrain.pipelines.gates.base import GateSettings
from nightrain.pipelines.gates.registry import GATES

Severity = Annotated[float, Field(ge=0.0, le=1.0)]


class SeverityRange(BaseModel):
    """Severity range: each sample's severity is drawn uniformly from it with the sample's seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lowest: Severity = 0.2
    highest: Severity = 0.9

    @model_validator(mode="after")
    def _ordered(self) -> "SeverityRange":
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}")
        return self


class Recipe(BaseModel):
    """Settings of a generation run; `name` is a label and not part of the hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    # An engine's name, or a mapping with its `name` and settings
    engine: Annotated[SerializeAsAny[EngineSettings], BeforeValidator(ENGINES.parse)] = Field(
        default="weather", validate_default=True
    )
    engine_version: str = ""  # EngineSettings.version; `load_recipe` sets it
    conditions: dict[Condition, SeverityRange] = Field(min_length=1)
    # (width, height) of a variant; a width alone keeps the frame's aspect; None: the frame's own
    size: tuple[int, int] | int | None = None
    depth: Literal["lidar", "exact"] = "lidar"
    # Treatment of frames without that depth; like every option that is excluded at its default,
    # it leaves the hash, and so the seeds, of recipes without it unchanged
    without_depth: Literal["quarantine", "road-plane"] = Field(
        default="quarantine", exclude_if=lambda value: value == "quarantine"
    )
    variants_per_frame: int = Field(default=1, ge=1, le=100)
    batch_size: int = Field(default=8, ge=1, le=256)
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    # Checks of each variant, in order: names, or mappings with a `name` and settings
    gates: tuple[Annotated[SerializeAsAny[GateSettings], BeforeValidator(GATES.parse)], ...] = (
        Field(default=(), exclude_if=operator.not_)
    )
    gate_versions: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)  # as above

    @model_validator(mode="after")
    def _checks(self) -> "Recipe":
        if missing := [c for c in self.conditions if c not in self.engine.conditions]:
            raise ValueError(
                f"conditions: engine {self.engine.name!r} does not generate "
                f"{', '.join(repr(str(c)) for c in missing)}; it generates "
                f"{', '.join(self.engine.conditions)}. Remove the others, or use another engine"
            )
        names = [gate.name for gate in self.gates]
        if len(set(names)) < len(names):
            raise ValueError(f"gates: found {', '.join(names)}; name each gate once")
        sides = () if self.size is None else np.atleast_1d(self.size).tolist()
        if not all(16 <= side <= 8192 for side in sides):
            raise ValueError(f"size {self.size}: width and height must be 16 to 8192 pixels")
        return self

    def size_for(self, frame_size: Size) -> Size:
        """Return (width, height) of the variants of a frame of the given size."""
        if isinstance(self.size, int):
            return at_width(self.size, frame_size)
        return self.size or frame_size

    def working_size(self, frame_size: Size) -> Size:
        """Return (width, height) at which the engine works on a frame."""
        return self.engine.working_size(frame_size) or self.size_for(frame_size)

    @property
    def hash(self) -> str:
        """Digest of all settings except the name: 16 hex digits."""
        fields = self.model_dump(mode="json", exclude={"name"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Name of the recipe's folder below variants/: "weather-1a2b3c4d"."""
        return f"{self.name}-{self.hash[:8]}"

    def table(self, condition: Condition) -> str:
        """Return the table of the variants of one condition."""
        return f"variants/{self.folder}/{condition}"
