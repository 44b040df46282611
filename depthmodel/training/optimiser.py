"""AdamW with a rate per group of parameters, a warm-up and a linear decay, as SSD trains."""

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn


class OptimiserConfig(BaseModel):
    """Rates are those after the warm-up; the papers give no numbers beyond md4all's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lr: dict[str, float] = {"backbone": 1e-5, "head": 1e-4, "pose": 1e-4}  # by group
    weight_decay: float = Field(default=0.01, ge=0.0)
    num_warmup_steps: int = Field(default=500, ge=0)
    clip_norm: float = Field(default=1.0, gt=0.0)

    def rate(self, step: int, num_steps: int) -> float:
        """Factor in [0, 1] of the rates at a step, counted from 0: warm-up, then linear to 0."""
        warm = min(1.0, (step + 1) / max(1, self.num_warmup_steps))
        return warm * max(0.0, 1.0 - step / num_steps)


def make_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]], config: OptimiserConfig
) -> torch.optim.AdamW:
    """AdamW over named groups; biases and norms are not decayed. Raises KeyError for no rate."""
    parts = []
    for name, parameters in groups.items():
        trained = [p for p in parameters if p.requires_grad]
        for decayed in (True, False):
            chosen = [p for p in trained if (p.ndim > 1) == decayed]
            decay = config.weight_decay if decayed else 0.0
            rate = config.lr[name]
            if chosen:
                parts.append({"params": chosen, "lr": rate, "full_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(parts, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to a factor of its full one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_lr"]
