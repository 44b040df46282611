"""How an auxiliary view is aligned and fused; light, so that depthmodel/config.py can hold it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Cells = Annotated[int, Field(ge=1, le=64)]


class AuxViewConfig(BaseModel):
    """What the other view is to this one, how far to search it, and the widths of the layers.

    "stereo": a rectified pair; "pose": another camera of known pose, swept by planes; "search":
    nothing known, windows look for their place. Cells are compared by their features, or by the
    pictures' own pixels in them, which see shifts of a small part of a cell. Pixels are of the
    network's input, cells of its feature grids. The defaults are the specification's, for KITTI;
    they never change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    alignment: Literal["stereo", "pose", "search"] = "stereo"
    compare: Literal["features", "pictures"] = "features"
    descriptor_channels: int = Field(default=16, ge=1, le=512)
    refinement_channels: int = Field(default=16, ge=1, le=512)
    attention_channels: int = Field(default=32, ge=1, le=1024)
    attention_heads: int = Field(default=2, ge=1, le=64)
    attention_window: Cells = 7
    # stereo
    max_disparity_px: float = Field(default=192.0, gt=0, le=4096)
    steps_per_cell: int = Field(default=2, ge=1, le=8)
    # pose
    num_planes: int = Field(default=32, ge=3, le=256)
    sweep_ratio: float = Field(default=2.0, gt=1, le=100)  # from monocular depth / 2 to times 2
    # search
    window_cells: Cells = 8  # of the coarser grid
    search_radius_cells: Cells = 8  # of the coarser grid
    refine_radius_cells: Cells = 2  # of the finer grid

    @model_validator(mode="after")
    def _heads_divide(self) -> "AuxViewConfig":
        if self.attention_channels % self.attention_heads:
            raise ValueError(
                f"attention_heads {self.attention_heads} must divide attention_channels "
                f"{self.attention_channels}"
            )
        return self
