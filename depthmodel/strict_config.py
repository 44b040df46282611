"""What a strict invertible decoder is; without torch, so that a configuration is quick to read."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StrictConfig(BaseModel):
    """The strict decoder: log depth = log(middle_depth_m) + sigma * (isometries and couplings).

    `scale_bound` (a) and `lipschitz` (alpha) decide the provable constants: per half step 1.338 and
    1.368 at the defaults, and they multiply. `hidden_channels` and `condition_channels` are widths
    inside the couplings, of which the constants do not depend.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["strict"] = "strict"
    scale_bound: float = Field(default=0.25, ge=0, le=2)  # |log s| <= a
    lipschitz: float = Field(default=0.25, ge=0, le=2)  # of the shift, in the half it looks at
    num_half_steps: int = Field(default=2, ge=1, le=8)  # at each of 1/16, 1/8 and 1/4
    upsampling: Literal["haar", "shuffle"] = "haar"
    middle_depth_m: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    # about the standard deviation of log depth on a road
    sigma: float = Field(default=0.7, gt=0, allow_inf_nan=False)
    hidden_channels: int = Field(default=64, ge=1, le=1024)
    condition_channels: int = Field(default=32, ge=1, le=1024)
