"""The student's features in the dark against those of a frozen encoder by day."""

import torch
from torch.nn import functional as F


def semantic_error(features: torch.Tensor, frozen: torch.Tensor) -> torch.Tensor:
    """1 - mean cosine between feature maps (B, C, h, w), token by token: a scalar in [0, 2].

    Mao et al., SSD, 2024, eq. 7. No gradient reaches the frozen features.
    """
    return 1 - F.cosine_similarity(features, frozen.detach(), dim=1).mean()
