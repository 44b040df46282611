"""Loss terms: their inputs, their interface, and the registry of terms.

To add a loss, write a subclass of `LossTerm` and give it a line in `LOSSES`, or name your own class
"package.module:Class" among a role's `extra` losses.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from nightrain.datasets.registry import Registry

Side = Literal["previous", "next"]
Batch = Mapping[str, Tensor]
Poses = Mapping[Side, Tensor]  # T_source_target (B, 4, 4), metres, as PoseNet returns them
LOSSES = Registry(
    what="loss",
    base="nightrain.depthmodel.losses.base:LossTerm",
    classes={
        "photometric": "nightrain.depthmodel.losses.reprojection:PhotometricTerm",
        "velocity": "nightrain.depthmodel.losses.velocity:VelocityTerm",
        "smoothness": "nightrain.depthmodel.losses.smoothness:SmoothnessTerm",
        "silog": "nightrain.depthmodel.losses.silog:SiLogTerm",
        "distillation": "nightrain.depthmodel.losses.distillation:DistillationTerm",
        "semantic": "nightrain.depthmodel.losses.semantic:SemanticTerm",
        "feature": "nightrain.depthmodel.losses.restoration:FeatureTerm",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """Inputs of a loss term: a batch of the training loader and the networks' outputs."""

    batch: Batch
    inverse_depth: Tensor  # (B, 1, H, W) 1/m, float32, at the size of the batch's images or maps
    poses: Poses = field(default_factory=dict)  # one for each side to use
    mask: Tensor | None = None  # (B, 1, H, W) of `reliable_pixels`; None: everywhere
    features: Tensor | None = None  # (B, C, h, w) of the trained encoder on its input
    frozen_features: Tensor | None = None  # (B, C, h, w) of the frozen encoder, on the clear frame
    feature_error: Tensor | None = None  # () of a restoration with a known target
    max_depth_m: float = 80.0  # measured depth beyond it is left out
    automask: bool = True
    use_confidence: bool = True  # the labels' confidence weights the distillation


class TermValue(NamedTuple):
    """Value of a loss term, and statistics for the log."""

    loss: Tensor  # ()
    statistics: Mapping[str, Tensor] = {}  # () each


class LossTerm(ABC):
    """One term of a weighted sum; constructed without arguments."""

    @abstractmethod
    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the inputs lack what it needs."""


def need(batch: Batch, key: str) -> Tensor:
    """Entry of the batch; raises ValueError, listing the entries there are."""
    if key not in batch:
        raise ValueError(f"the batch has no {key!r}, only {sorted(batch)}; enable it in the data")
    return batch[key]


def same_shape(**maps: Tensor) -> None:
    """Raise ValueError with every name and shape unless all tensors have one shape.

    Broadcasting would hide a mistake where maps are compared pixel by pixel.
    """
    if len({tuple(tensor.shape) for tensor in maps.values()}) > 1:
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in maps.items())
        raise ValueError(f"these must have one shape: {found}; resize or unsqueeze before")
