"""What a feature restoration is: its UNet, its schedule and its kind.

Apart from depthmodel/config.py, which imports it, and free of torch. As there: a default, once
released, never changes.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class RestorationConfig(BaseModel):
    """Residual-shift diffusion in feature space, or the one-step control of the same capacity.

    `multipliers` has one entry per resolution of the UNet, `base_channels` wide each. `kappa` is
    the noise in units of the features' standard deviation; `power` and `min_noise` shape the
    schedule. `stochastic` steps draw noise where a source of it is given. `full_gradient` lets the
    gradient through all steps. `num_components` restores inside that many principal components.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["diffusion", "one-step"] = "diffusion"
    base_channels: int = Field(default=64, ge=8, le=512, multiple_of=8)
    multipliers: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(
        default=(1, 2, 2, 4), min_length=1, max_length=4
    )
    num_blocks: int = Field(default=2, ge=1, le=8)  # at each resolution, down and up
    num_steps: int = Field(default=4, ge=1, le=100)
    kappa: float = Field(default=0.5, ge=0.0, le=10.0)
    power: float = Field(default=0.3, gt=0.0, le=10.0)
    min_noise: float = Field(default=0.2, gt=0.0, lt=0.99)
    stochastic: bool = False
    full_gradient: bool = False
    num_components: int | None = Field(default=None, ge=1, le=4096)

    @property
    def effective_steps(self) -> int:
        """Steps that are taken: one for the control, whatever `num_steps` says."""
        return 1 if self.kind == "one-step" else self.num_steps

    @property
    def effective_kappa(self) -> float:
        """Noise that is added: none for the control, whatever `kappa` says."""
        return 0.0 if self.kind == "one-step" else self.kappa
