"""Exponential moving average of a network's weights (Polyak and Juditsky 1992)."""

import torch
from torch import nn

from nightrain.depthmodel.training.checkpoint import Tensors


class Average:
    """theta_avg <- decay theta_avg + (1 - decay) theta, with a decay that grows from 0.1.

    At step n the decay is min(decay, (1 + n) / (10 + n)), so that the random start is forgotten in
    short runs. Buffers and integers are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: Tensors = {k: t.detach().clone() for k, t in module.state_dict().items()}
        self._averaged = {name for name, _ in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` optimiser steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if name in self._averaged:
                self.tensors[name].lerp_(tensor.to(self.tensors[name]), 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    def load(self, tensors: Tensors) -> None:
        """Go on with an average that was kept; raises KeyError for another network's."""
        self.tensors = {k: tensors[k].to(t.device) for k, t in self.tensors.items()}
