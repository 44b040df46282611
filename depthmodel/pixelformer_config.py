"""What a PixelFormer decoder is; apart from its network, so that configurations load no torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Width = Annotated[int, Field(ge=4, le=4096)]


class PixelFormerConfig(BaseModel):
    """The decoder of PixelFormer; the defaults are the published one's, for a Swin-L.

    The widths of the four stages are 1, 2, 4 and 8 times `embed_dim`, from fine to coarse. With
    `lower` "invertible" its two finest stages are couplings (depthmodel/decoders/invertible.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pixelformer"] = "pixelformer"
    lower: Literal["attention", "invertible"] = "attention"
    embed_dim: Width = 128
    head_dim: Width = 32  # of an attention head
    window: int = Field(default=7, ge=2, le=32)  # side of an attention window, in cells
    mlp_ratio: int = Field(default=4, ge=1, le=8)
    num_bins: int = Field(default=256, ge=2, le=1024)
    num_pairs: int = Field(default=2, ge=1, le=8)  # couplings of an invertible stage
    scale_bound: float = Field(default=0.5, gt=0, le=2)  # of the logarithm of their scale

    @model_validator(mode="after")
    def _whole_heads(self) -> "PixelFormerConfig":
        if self.embed_dim % self.head_dim:
            raise ValueError(
                f"embed_dim {self.embed_dim} is no multiple of head_dim {self.head_dim}"
            )
        if self.embed_dim % 2:
            raise ValueError(f"embed_dim {self.embed_dim}: pixel shuffling needs an even number")
        return self

    @property
    def embed_dims(self) -> tuple[int, int, int, int]:
        """Widths of the four stages, fine to coarse."""
        return self.embed_dim, 2 * self.embed_dim, 4 * self.embed_dim, 8 * self.embed_dim
