"""The student sees in an adverse frame what a frozen encoder sees in the clear one.

    L = 1 - mean_i cos(f_i, f'_i)

SSD (Mao et al. 2024), eq. 7, after the feature alignment of Yang et al. 2024 (Depth Anything),
without its margin. f: frozen, of the clear frame; f': of the student, on what it was given.
"""

import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape


def semantic_loss(student_features: Tensor, frozen_features: Tensor) -> Tensor:
    """1 - mean cosine over places of feature maps (B, C, h, w): 0 where equal, 2 at most.

    No gradient reaches the frozen features. Source: SSD, eq. 7. Raises ValueError where the shapes
    differ, as they do for encoders of different width.
    """
    same_shape(student_features=student_features, frozen_features=frozen_features)
    frozen = frozen_features.detach().float()
    return 1 - F.cosine_similarity(student_features.float(), frozen, dim=1).mean()
