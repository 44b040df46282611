"""Object regions: connected parts of a depth map, over which reliability is averaged.

A whole object whose depth is scaled keeps its error at most pixels, so reliability is judged per
object, not per pixel: the errors of a region are replaced by their mean. RoSAMDepth (CVPR 2026)
averages over masks of a segmentation network; here a region is a connected part of the clear
frame's depth, cut where depth jumps.
"""

import numpy as np
import torch
from torch import Tensor

from nightrain.datasets.geometry.depth_regions import JUMP, depth_regions


def object_regions(depth_m: Tensor, jump: float = JUMP) -> Tensor:
    """Regions (B, 1, h, w) int64 of depth (B, 1, h, w) in metres, numbered from 1 in each image.

    Pixels next to a jump of depth, and those without depth (0), are 0: of no region.
    """
    found = [depth_regions(one[0].float().cpu().numpy(), jump) for one in depth_m.detach()]
    return torch.from_numpy(np.stack(found)).to(depth_m.device)[:, None]


def mean_over_regions(error: Tensor, regions: Tensor) -> Tensor:
    """Errors (B, 1, h, w) with the mean of its region in place of each finite one.

    Errors that are not finite, and those outside all regions (0), stay as they are. `regions`
    (B, 1, h, w) are those of `object_regions`.
    """
    most = int(regions.max()) + 1
    images = torch.arange(len(regions), device=regions.device).view(-1, 1, 1, 1)
    place = (regions + most * images).flatten()
    used = torch.isfinite(error) & (regions > 0)
    values = torch.where(used, error, 0.0).flatten()
    sums = error.new_zeros(most * len(regions)).index_add_(0, place, values)
    counts = torch.zeros_like(sums).index_add_(0, place, used.flatten().to(sums.dtype))
    means = (sums / counts.clamp(min=1))[place].view_as(error)
    return torch.where(used, means, error)
