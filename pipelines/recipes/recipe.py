"""Recipe: what is generated, and the settings that decide the bytes of the variants.

Each condition has a hash of its own, over every setting that decides the bytes of its variants.
Another condition, and the recipe's name and description, do not change it.
"""

import hashlib
import json
import operator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings, problems
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.engines.engine_settings import EngineSettings, Size, at_width
from nightrain.pipelines.engines.registry import ENGINES
from nightrain.pipelines.gates.base import GateSettings
from nightrain.pipelines.gates.registry import GATES

Severity = Annotated[float, Field(ge=0.0, le=1.0)]
LABELS = ("name", "description")  # not part of any hash
SET_ON_LOAD = ("engine_versions", "gate_versions", "depth_version")  # by `load_recipe`
NAME = r"^[a-z0-9][a-z0-9-]{0,40}$"


class SeverityRange(Settings):
    """Severity range: each sample's severity is drawn uniformly from it with the sample's seed."""

    lowest: Severity = Field(default=0.2, description="Lowest severity, 0 to 1")
    highest: Severity = Field(default=0.9, description="Highest severity, 0 to 1")

    @model_validator(mode="after")
    def _ordered(self) -> "SeverityRange":
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}")
        return self


class Recipe(Settings):
    """Settings of a generation run.

    An option that is excluded at its default leaves the hashes of recipes without it unchanged.
    """

    name: str = Field(
        pattern=NAME, description="Name for readers: small letters, digits and hyphens"
    )
    description: str = Field(default="", max_length=200, description="Description, one line")
    engine: Annotated[SerializeAsAny[EngineSettings], BeforeValidator(ENGINES.parse)] = Field(
        default="weather",
        validate_default=True,
        description="Engine: its name, or a mapping with its `name` and settings",
    )
    conditions: dict[Condition, SeverityRange] = Field(
        min_length=1,
        description="Conditions to generate, each with the range that severities are drawn from",
    )
    size: tuple[int, int] | int | None = Field(
        default=None,
        description="Size of the variants in pixels: a width, with the frame's aspect, or [width, "
        "height]; null: the frame's own size",
    )
    depth: Literal["lidar", "completed", "exact", "network"] = Field(
        default="lidar",
        description="Depth of the frame that geometry is taken from: LiDAR, LiDAR completed by the "
        "built-in network, exact depth of the built-in world, or a network's, scaled to LiDAR or "
        "to the road",
    )
    depth_network: ControlDepth | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Network of the depth 'network', with the settings of `control_depth`",
    )
    without_depth: Literal["quarantine", "road-plane"] = Field(
        default="quarantine",
        exclude_if=lambda value: value == "quarantine",
        description="Frames without that depth: quarantine them, or assume a flat road",
    )
    variants_per_frame: int = Field(
        default=1, ge=1, le=100, description="Variants of each frame and condition"
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Seed: another one draws other severities and noise for every variant",
    )
    batch_size: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Largest batch of the engine; a device with less memory gets smaller ones",
    )
    jpeg_quality: int = Field(
        default=95, ge=50, le=100, description="JPEG quality of the stored variants"
    )
    gates: tuple[Annotated[SerializeAsAny[GateSettings], BeforeValidator(GATES.parse)], ...] = (
        Field(
            default=(),
            exclude_if=operator.not_,
            description="Checks of each variant, in order: names, or mappings with a `name` and "
            "settings",
        )
    )
    gates_inverted: bool = Field(
        default=False,
        exclude_if=operator.not_,
        description="Keep what the gates reject, and nothing else: to study whether gates help",
    )
    gate_seeds: int = Field(
        default=3,
        ge=1,
        le=100,
        exclude_if=lambda value: value == 3,
        description="Largest number of seeds tried for a variant until the gates accept one; the "
        "last is quarantined",
    )
    # Versions of the installed engine, gates and depth network
    engine_versions: dict[Condition, str] = Field(default={}, exclude_if=operator.not_)
    gate_versions: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    depth_version: str = Field(default="", exclude_if=operator.not_)

    @model_validator(mode="after")
    def _checks(self) -> "Recipe":
        if missing := [c for c in self.conditions if c not in self.engine.conditions]:
            raise ValueError(
                f"conditions: engine {self.engine.name!r} does not generate "
                f"{', '.join(repr(str(c)) for c in missing)}; it generates "
                f"{', '.join(self.engine.conditions)}. Remove the others, or use another engine"
            )
        given = self.depth_network is None or self.depth_network.source == "given"
        if (self.depth == "network") == given:
            raise ValueError(
                "depth_network: `depth: network` needs a depth_network with a source other than "
                "'given', such as {source: midas}, and no other depth has one"
            )
        names = [gate.name for gate in self.gates]
        if len(set(names)) < len(names):
            raise ValueError(f"gates: found {', '.join(names)}; name each gate once")
        if self.gates_inverted and not names:
            raise ValueError("gates_inverted: the recipe has no gates that could reject anything")
        sides = () if self.size is None else np.atleast_1d(self.size).tolist()
        if not all(16 <= side <= 8192 for side in sides):
            raise ValueError(f"size {self.size}: width and height must be 16 to 8192 pixels")
        return self

    @classmethod
    def from_settings(cls, text: str) -> "Recipe":
        """Return the recipe of one condition from the text that `settings_of` returns.

        Raises InvalidRequest for settings that this version does not accept.
        """
        try:
            return cls.model_validate({"name": "recorded", **json.loads(text)})
        except ValidationError as error:
            raise InvalidRequest(
                "The dataset records settings that are not valid in this version of nightrain: "
                f"{'; '.join(problems(cls, error))}. Use the version that generated the variants."
            ) from error

    def for_dataset(self, root: Path) -> "Recipe":
        """Return the recipe with the engine's relative folders below a dataset's folder."""
        return self.model_copy(update={"engine": self.engine.for_dataset(root)})

    @property
    def mapped_depth(self) -> ControlDepth | None:
        """Network that makes the control maps that the recipe reads; None if it reads none."""
        conditioning = self.engine.conditioning
        if conditioning is not None and conditioning.sees_by_network:
            return conditioning.control_depth
        return self.network_of_depth if self.engine.needs_depth else None

    @property
    def network_of_depth(self) -> ControlDepth | None:
        """Network that the recipe's depth is computed by; None if the frame's own is used."""
        return ControlDepth(source="completed") if self.depth == "completed" else self.depth_network

    def size_for(self, frame_size: Size) -> Size:
        """Return (width, height) of the variants of a frame of the given size."""
        if isinstance(self.size, int):
            return at_width(self.size, frame_size)
        return self.size or frame_size

    def working_size(self, frame_size: Size) -> Size:
        """Return (width, height) at which the engine works on a frame."""
        return self.engine.working_size(frame_size) or self.size_for(frame_size)

    @property
    def names_of_gates(self) -> str | None:
        """Gates with their versions: "faults 1, structure 1"; None without gates."""
        versions = zip(self.gates, self.gate_versions, strict=True)
        return ", ".join(f"{gate.name} {version}" for gate, version in versions) or None

    def without_gates(self) -> "Recipe":
        """Return the recipe without its gates, under a name and in tables of its own."""
        if not self.gates:
            return self
        changes = {"name": f"{self.name}-no-gates", "gates": (), "gate_versions": ()}
        changes |= {"gates_inverted": False}
        return self.model_copy(update=changes)

    def settings_of(self, condition: Condition) -> str:
        """Canonical JSON of all settings that decide the bytes of one condition's variants."""
        fields: dict[str, Any] = self.model_dump(mode="json", exclude={*LABELS})
        for per_condition in ("conditions", "engine_versions"):
            if per_condition in fields:
                values = fields[per_condition]
                fields[per_condition] = {c: v for c, v in values.items() if c == condition}
        return json.dumps(fields, sort_keys=True)

    def hash_of(self, condition: Condition) -> str:
        """Digest of the settings of one condition: 16 hex digits."""
        return hashlib.sha256(self.settings_of(condition).encode()).hexdigest()[:16]

    def folder_of(self, condition: Condition) -> str:
        """Name of one condition's folder below variants/: "weather-1a2b3c4d"."""
        return self.engine.folder(self.hash_of(condition))

    def table(self, condition: Condition) -> str:
        """Return the table of the variants of one condition."""
        return f"variants/{self.folder_of(condition)}/{condition}"

    @property
    def tables(self) -> dict[str, str]:
        """Settings of each condition, as `settings_of` returns them, by table."""
        return {self.table(c): self.settings_of(c) for c in self.conditions}

    @property
    def hash(self) -> str:
        """Digest of the settings of all conditions: 16 hex digits."""
        return hashlib.sha256("\n".join(sorted(self.tables.values())).encode()).hexdigest()[:16]
