"""Shared weights: start a network from another one; tensors of the same name are the same part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.network.model import DepthModel

MAX_NAMES = 3  # in a message


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """Names of tensors: loaded, new (at their initial values), and not used."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]


def load_shared(model: DepthModel, tensors: Mapping[str, torch.Tensor]) -> SharedWeights:
    """Load the tensors of another network that have the same names and shapes.

    The encoder must be the same and complete; parts of another shape or of another decoder keep
    their initial values. Raises InvalidRequest where the encoder differs.
    """
    own = model.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    other = [n for n in own if n.startswith("encoder.") and n not in fitting]
    if other:
        raise InvalidRequest(
            f"{len(other)} tensors of the encoder are missing or of another shape "
            f"({', '.join(other[:MAX_NAMES])}); expected a network with the same encoder, "
            f"{model.config.encoder.label}."
        )
    model.load_state_dict(fitting, strict=False)
    return SharedWeights(
        loaded=tuple(sorted(fitting)),
        new=tuple(sorted(own.keys() - fitting.keys())),
        left_out=tuple(sorted(tensors.keys() - fitting.keys())),
    )
