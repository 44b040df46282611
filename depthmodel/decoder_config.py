"""Decoder configurations: DPT, PixelFormer, strict, or your own class; without torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    JsonValue,
    Tag,
    model_validator,
)

from nightrain.datasets.registry import Registry
from nightrain.datasets.validation import Settings

Channels = Annotated[int, Field(ge=4, le=4096)]
DECODERS = Registry(
    what="decoder",
    base="nightrain.depthmodel.decoders.base:Decoder",
    classes={
        "dpt": "nightrain.depthmodel.decoders.dpt:DptDecoder",
        "pixelformer": "nightrain.depthmodel.decoders.pixelformer:PixelFormerDecoder",
        "strict": "nightrain.depthmodel.decoders.strict:StrictDecoder",
    },
)


class DptConfig(Settings):
    """DPT decoder; `detail` is the resolution of its last layers relative to the image.

    `lower` "invertible" makes its two finest stages couplings with an exact inverse.
    """

    kind: Literal["dpt"] = "dpt"
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


class PixelFormerConfig(Settings):
    """PixelFormer decoder; the defaults are the published ones, for a Swin-L.

    The widths of the four stages are 1, 2, 4 and 8 times `embed_dim`, from fine to coarse. With
    `lower` "invertible" its two finest stages are couplings (depthmodel/decoders/invertible.py).
    """

    kind: Literal["pixelformer"] = "pixelformer"
    lower: Literal["attention", "invertible"] = "attention"
    embed_dim: Channels = 128
    head_dim: Channels = 32  # of an attention head
    window: int = Field(default=7, ge=2, le=32)  # side of an attention window, in cells
    mlp_ratio: int = Field(default=4, ge=1, le=8)
    num_bins: int = Field(default=256, ge=2, le=1024)
    num_pairs: int = Field(default=2, ge=1, le=8)  # couplings of an invertible stage
    scale_bound: float = Field(default=0.5, gt=0, le=2)  # of the logarithm of their scale

    @model_validator(mode="after")
    def _whole_heads(self) -> "PixelFormerConfig":
        if self.embed_dim % self.head_dim:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of head_dim {self.head_dim}"
            )
        if self.embed_dim % 2:
            raise ValueError(f"embed_dim {self.embed_dim}: pixel shuffling needs an even number")
        return self

    @property
    def embed_dims(self) -> tuple[int, int, int, int]:
        """Widths of the four stages, fine to coarse."""
        return self.embed_dim, 2 * self.embed_dim, 4 * self.embed_dim, 8 * self.embed_dim


class StrictConfig(Settings):
    """Strict decoder: log depth = log(middle_depth_m) + sigma * (isometries and couplings).

    `scale_bound` (a) and `lipschitz` (alpha) decide the provable constants: per half step 1.338 and
    1.368 at the defaults, and they multiply. `hidden_channels` and `condition_channels` are widths
    inside the couplings; the constants do not depend on them.
    """

    kind: Literal["strict"] = "strict"
    scale_bound: float = Field(default=0.25, ge=0, le=2)  # |log s| <= a
    lipschitz: float = Field(default=0.25, ge=0, le=2)  # of the shift, in the unchanged half
    num_half_steps: int = Field(default=2, ge=1, le=8)  # at each of 1/16, 1/8 and 1/4
    upsampling: Literal["haar", "shuffle"] = "haar"
    middle_depth_m: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    # about the standard deviation of log depth on a road
    sigma: float = Field(default=0.7, gt=0, allow_inf_nan=False)
    hidden_channels: int = Field(default=64, ge=1, le=1024)
    condition_channels: int = Field(default=32, ge=1, le=1024)


class CustomDecoderConfig(Settings):
    """Decoder class of another package; `options` are its keyword arguments."""

    kind: str  # "package.module:Class"
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _importable(self) -> "CustomDecoderConfig":
        DECODERS.check(self.kind, self.options)
        return self


def _decoder_tag(value: Any) -> str:
    fields = value if isinstance(value, Mapping) else {"kind": getattr(value, "kind", "")}
    kind = str(fields.get("kind", "dpt"))
    return kind if kind in DECODERS.classes else "custom"


DecoderConfig = Annotated[
    Annotated[DptConfig, Tag("dpt")]
    | Annotated[PixelFormerConfig, Tag("pixelformer")]
    | Annotated[StrictConfig, Tag("strict")]
    | Annotated[CustomDecoderConfig, Tag("custom")],
    Discriminator(_decoder_tag),
]
