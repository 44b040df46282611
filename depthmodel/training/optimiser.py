"""AdamW with a learning rate per group, warm-up and decay, and an average of the weights.

SSD trains with AdamW and a linear decay; the warm-up is ours (docs/papers/ssd.md).
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings

PARTS = ("encoder", "decoder", "restoration", "auxview", "pose")  # of the built-in networks


class OptimiserConfig(Settings):
    """Settings of AdamW; `lr` are the learning rates after the warm-up, by group of parameters.

    The groups are the parts of the depth network and the other trained networks, such as "pose";
    "head" is another name of "decoder". The rates decay from 1 to `final_factor` times these
    values, polynomially with `decay_power` (1 is linear).
    """

    lr: dict[str, float] = Field(
        default_factory=lambda: {"encoder": 1e-5, "decoder": 1e-4, "pose": 1e-4}
    )
    weight_decay: float = Field(default=0.01, ge=0.0)
    num_warmup_steps: int = Field(default=500, ge=0)
    clip_norm: float = Field(default=1.0, gt=0.0)
    decay_power: float = Field(default=1.0, ge=0.0, le=10.0)
    final_factor: float = Field(default=0.0, ge=0.0, le=1.0)

    @field_validator("lr", mode="after")
    @classmethod
    def _head_is_decoder(cls, lr: dict[str, float]) -> dict[str, float]:
        if wrong := [f"{name} {rate}" for name, rate in lr.items() if not 0 <= rate < 1]:
            raise ValueError(f"{', '.join(wrong)}; expected rates of at least 0 and below 1")
        if "head" not in lr:
            return lr
        return {name: rate for name, rate in lr.items() if name != "head"} | {"decoder": lr["head"]}

    def rate(self, step: int, num_steps: int) -> float:
        """Factor in [0, 1] of the learning rates at a step from 0: warm-up times decay."""
        warm = min(1.0, (step + 1) / max(1, self.num_warmup_steps))
        left = max(0.0, 1.0 - step / num_steps) ** self.decay_power
        return warm * (self.final_factor + (1.0 - self.final_factor) * left)


def make_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]], config: OptimiserConfig
) -> torch.optim.AdamW:
    """Build AdamW over named groups; biases and norms have no weight decay.

    Raises InvalidRequest for a group without a learning rate, and for a rate without a group.
    """
    _check_names(groups, config.lr)
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


def _check_names(groups: Mapping[str, object], lr: Mapping[str, float]) -> None:
    without = [name for name in groups if name not in lr]
    unknown = [name for name in lr if name not in groups and name not in PARTS]
    if without or unknown:
        problem = f"has no rate for {without[0]!r}" if without else f"has {unknown[0]!r}"
        raise InvalidRequest(
            f"optimiser.lr {problem}; this run trains {', '.join(groups)}. Set "
            f"optimiser.lr.{(without or list(groups))[0]}, for instance to 1e-4."
        )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate of every group to a factor of its full one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_lr"]


Tensors = tuple[Tensor, ...] | list[Tensor]


def make_average(networks: nn.Module, decay: float) -> AveragedModel:
    """Build the exponential moving average of a module's weights, starting from them.

    Update n computes avg <- d avg + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)), so
    that a short run forgets its random start (Polyak and Juditsky 1992). Buffers are copied.
    """

    def average(averaged: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, num_averaged)

    averaged = AveragedModel(networks, multi_avg_fn=average)
    averaged.update_parameters(networks)  # the first update copies the weights
    return averaged
