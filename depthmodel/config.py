"""What a depth network is: its encoder, its head, its depth range and its input.

A configuration decides the architecture and nothing else; which bytes the weights are is said by
`DepthModel.digest`. Fields may be added with a default that changes nothing; a default, once
released, never changes, because what equals the default is not part of the digest.
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview_config import AuxViewConfig
from nightrain.depthmodel.pixelformer_config import PixelFormerConfig
from nightrain.depthmodel.restoration_config import RestorationConfig
from nightrain.depthmodel.strict_config import StrictConfig
from nightrain.depthmodel.weights import Weights

Kind = Literal["dinov2", "swin", "resnet", "convnext"]
Normalisation = Literal["imagenet", "per-image", "none"]
Channels = Annotated[int, Field(ge=4, le=4096)]
SIZES: dict[Kind, tuple[str, ...]] = {  # their numbers are in depthmodel/network/encoder.py
    "dinov2": ("small", "base", "large", "giant", "mini", "test"),
    "swin": ("tiny", "small", "base", "large", "test"),
    "resnet": ("18", "50", "mini", "micro", "test"),
    "convnext": ("tiny", "small", "base", "mini", "test"),
}
PATCH_PIXELS = 14  # of DINOv2


class Frozen(BaseModel):
    """Unchangeable, and no field that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneConfig(Frozen):
    """An encoder by family and size; `pretrained` None starts it at random."""

    kind: Kind = "dinov2"
    size: str = "base"
    pretrained: Weights | None = None  # a hub id or a folder, as transformers saves it
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)  # stochastic depth; not of ResNet

    @model_validator(mode="after")
    def _known_size(self) -> "BackboneConfig":
        if self.size not in SIZES[self.kind]:
            raise ValueError(f"no {self.kind} of size {self.size!r}: {', '.join(SIZES[self.kind])}")
        if self.kind == "resnet" and self.drop_path:
            raise ValueError(f"drop_path {self.drop_path}: a ResNet has none; leave it at 0")
        return self


class DptConfig(Frozen):
    """The DPT head; `detail` is the resolution of its last layers relative to the image.

    `lower` "invertible" makes its two finest stages couplings with an exact inverse.
    """

    reassemble_channels: tuple[Channels, Channels, Channels, Channels] = (96, 192, 384, 768)
    fusion_channels: Channels = 128
    head_channels: Channels = 32
    detail: Literal["full", "half", "quarter"] = "full"
    lower: Literal["fusion", "invertible"] = "fusion"

    @model_validator(mode="after")
    def _even_streams(self) -> "DptConfig":
        if self.lower == "invertible" and self.fusion_channels % 2:
            raise ValueError(
                f"fusion_channels {self.fusion_channels}: invertible stages need an even number"
            )
        return self


class DepthConfig(Frozen):
    """A depth network; `input_size` is (width, height) in pixels, the depths are in metres.

    `decoder` None is the DPT head of `head`; another stands in its place. `restoration` and
    `auxview` are added where they are given.
    """

    model_type: Literal["nightrain-depth"] = "nightrain-depth"
    backbone: BackboneConfig = BackboneConfig()
    head: DptConfig = DptConfig()
    min_depth_m: float = Field(default=0.1, gt=0)
    max_depth_m: float = Field(default=80.0, gt=0)
    initial_depth_m: float = Field(default=10.0, gt=0)  # what an untrained network predicts
    input_size: tuple[int, int] = (784, 518)
    normalisation: Normalisation = "imagenet"
    decoder: PixelFormerConfig | StrictConfig | None = None
    restoration: RestorationConfig | None = None
    auxview: AuxViewConfig | None = None

    @field_validator("input_size")
    @classmethod
    def _sensible_sides(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(32 <= side <= 8192 for side in size):
            raise ValueError(f"{size}: width and height must be 32 to 8192 pixels")
        return size

    @model_validator(mode="after")
    def _checks(self) -> "DepthConfig":
        if not self.min_depth_m < self.initial_depth_m < self.max_depth_m:
            raise ValueError(
                f"initial_depth_m {self.initial_depth_m} must lie between min_depth_m "
                f"{self.min_depth_m} and max_depth_m {self.max_depth_m}"
            )
        width, height = self.input_size
        if self.backbone.kind == "dinov2" and (width % PATCH_PIXELS or height % PATCH_PIXELS):
            raise ValueError(
                f"input_size {self.input_size}: the sides must be multiples of DINOv2's patch of "
                f"{PATCH_PIXELS} pixels, as {_whole_patches(width)} x {_whole_patches(height)}"
            )
        return self

    @property
    def identity(self) -> str:
        """JSON of what is not at its default; where the encoder came from is not part of it."""
        plain = self.without_pretrained()
        fields = plain.model_dump(mode="json", exclude_defaults=True)
        if plain.decoder is not None:  # two kinds at their defaults are not the same
            fields["decoder"] = {"kind": plain.decoder.kind, **fields["decoder"]}
        return json.dumps(fields, sort_keys=True)

    def without_pretrained(self) -> "DepthConfig":
        """The same network whose encoder's weights come with all the others."""
        backbone = self.backbone.model_copy(update={"pretrained": None})
        return self.model_copy(update={"backbone": backbone})


def parse_config(text: str | bytes, where: str) -> DepthConfig:
    """Read a configuration's JSON; raises InvalidRequest, which says `where` it was found."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{where} is no JSON: {error}") from error
    expected = DepthConfig().model_type
    found = fields.get("model_type") if isinstance(fields, dict) else type(fields).__name__
    if found != expected:
        raise InvalidRequest(
            f"{where} is of a model of type {found!r}, expected {expected!r}: give a folder that "
            "DepthModel.save_pretrained wrote."
        )
    try:
        return DepthConfig.model_validate(fields)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidRequest(
            f"{where} is no configuration of a depth model. {'; '.join(problems)}"
        ) from (error)


def _whole_patches(side: int) -> int:
    return max(1, round(side / PATCH_PIXELS)) * PATCH_PIXELS
