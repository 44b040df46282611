"""The weights of one member of the family in another: what has the same name is the same part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.network.model import DepthModel

ADDED = ("restoration.", "auxview.")  # they start as the identity
SHOWN = 3


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """Names of tensors: taken over, at their start as the network has them, and not needed."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def same_depth(self) -> bool:
        """Whether both networks give the same depth, bit for bit: only identities are new."""
        return not self.left_out and all(name.startswith(ADDED) for name in self.new)


def load_shared(model: DepthModel, tensors: Mapping[str, torch.Tensor]) -> SharedWeights:
    """Take over the tensors of another member of the family by their names.

    The encoder must be the same, and all of it be there; of the rest, what has another shape or
    belongs to another decoder stays as it is. Raises InvalidRequest where the encoder differs.
    """
    own = model.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    other = [n for n in own if n.startswith("backbone.") and n not in fitting]
    if other:
        raise InvalidRequest(
            f"{len(other)} tensors of the encoder are missing or of another shape "
            f"({', '.join(other[:SHOWN])}); a network starts from one with the same encoder, "
            f"expected {model.config.backbone.kind} {model.config.backbone.size}."
        )
    model.load_state_dict(fitting, strict=False)
    return SharedWeights(
        loaded=tuple(sorted(fitting)),
        new=tuple(sorted(own.keys() - fitting.keys())),
        left_out=tuple(sorted(tensors.keys() - fitting.keys())),
    )
