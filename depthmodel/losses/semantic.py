"""Semantic loss: keeps the student's features close to a frozen encoder's on the clear frame.

    L = 1 - mean_i cos(f_i, f'_i)

SSD, eq. 7 (docs/papers/ssd.md); the feature alignment of Depth Anything (Yang et al. 2024) without
its margin. f: frozen, of the clear frame; f': the student's, of its input.
"""

import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, same_shape


class SemanticTerm(LossTerm):
    """Semantic loss of the inputs' features."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError without features of both encoders."""
        if inputs.features is None or inputs.frozen_features is None:
            raise ValueError("the semantic loss needs features and frozen_features")
        return TermValue(semantic_loss(inputs.features, inputs.frozen_features))


def semantic_loss(student_features: Tensor, frozen_features: Tensor) -> Tensor:
    """1 - mean cosine over all positions of feature maps (B, C, h, w); 0 if equal, at most 2.

    No gradient reaches the frozen features. Source: SSD, eq. 7 (docs/papers/ssd.md). Raises
    ValueError where the shapes differ, as they do for encoders of different width.
    """
    same_shape(student_features=student_features, frozen_features=frozen_features)
    frozen = frozen_features.detach().float()
    return 1 - F.cosine_similarity(student_features.float(), frozen, dim=1).mean()
