"""Rectified stereo: disparity by comparing each row of a feature map with that of the other.

    u' = u - d,   c(u, d) = <m(u), m'(u - d)>,   Z = f B / d

IID-RDepth, eq. 18 (docs/papers/iid_rdepth.md). Candidates are whole and fractional cells; for the
latter the shifted other map is described again. There is one cell of candidates below zero, so that
far points have neighbours on both sides. A disparity is valid where the other image's disparity
agrees (left-right check of Fua, Machine Vision and Applications 1993); its cosines are the same
ones, read along the other diagonal.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.matching import (
    BLUR,
    BestCandidate,
    Descriptor,
    Match,
    cells,
    in_frame,
    local_mean,
    peak,
    sample,
)
from nightrain.depthmodel.config import AuxViewConfig

MARGIN_CELLS = 1  # of candidates below zero disparity
CONSISTENT_CELLS = 1.0  # largest difference of the two images' disparities
OUTSIDE = -1.0  # cosine with cells outside the map
MAX_TURN, MAX_OFF_AXIS, MAX_INTRINSICS_PX = 0.02, 0.05, 1.0  # of a pair that counts as rectified


class RectifiedMatching(nn.Module):
    """Matches disparities of 0 to `max_disparity_px` between two maps."""

    def __init__(self, config: AuxViewConfig) -> None:
        super().__init__()
        self.max_disparity_px = config.max_disparity_px
        self.steps = config.steps_per_cell
        self.best = BestCandidate(config.descriptor_channels, config.refinement_channels)

    def forward(
        self,
        describe: Descriptor,
        maps: tuple[Tensor, Tensor],
        K: Tensor,
        T_aux_camera: Tensor,
        width_px: int,
    ) -> Match:
        """Match the target's and the other map, described by `describe`, of images `width_px` wide.

        `K` (B, 3, 3) in pixels, `T_aux_camera` (B, 4, 4) in metres. The partner may be to the right
        or to the left in each sample.
        """
        to_left = (T_aux_camera[:, 0, 3] > 0).view(-1, 1, 1, 1)
        # A partner to the left is a mirrored partner to the right.
        target, other = (_mirrored(x, to_left) for x in maps)
        target = describe(target)  # (B, C, h, w)
        phases = [describe(other, part / self.steps) for part in range(self.steps)]
        stride_px = width_px / target.shape[3]
        num_cells = min(math.ceil(self.max_disparity_px / stride_px), target.shape[3] - 1)
        cosines = local_mean(correlation(target, phases, num_cells), BLUR)  # (B, D, h, w)
        found = self.best(cosines, target)
        disparity = found.place / self.steps - MARGIN_CELLS  # (B, 1, h, w) in cells
        validity = found.certainty * self._consistent(disparity, cosines)
        disparity, validity = _mirrored(disparity, to_left), _mirrored(validity, to_left)
        shift = torch.cat([torch.where(to_left, disparity, -disparity), 0 * disparity], 1)
        focal_baseline = (K[:, 0, 0] * T_aux_camera[:, 0, 3].abs()).view(-1, 1, 1, 1)  # px m
        inverse_depth = disparity.clamp(min=0) * stride_px / focal_baseline
        return Match(shift, validity * in_frame(shift), inverse_depth)

    @torch.no_grad()
    def _consistent(self, disparity: Tensor, cosines: Tensor) -> Tensor:
        """Left-right check: cells with the same disparity in the other image, (B, 1, h, w) bool."""
        back = peak(_of_other(cosines, self.steps), self.best.log_temperature).place
        back = back / self.steps - MARGIN_CELLS  # (B, 1, h, w)
        height, width = disparity.shape[2:]
        place = cells(height, width, disparity) - F.pad(disparity, (0, 0, 0, 0, 0, 1))
        return (sample(back, place) - disparity).abs() <= CONSISTENT_CELLS


def correlation(target: Tensor, phases: list[Tensor], num_cells: int) -> Tensor:
    """Cosines <m(u), m'(u - d)> (B, D, h, w), d from -1 to `num_cells` cells; 0 outside.

    The phases m'(u + k / len(phases)) of the other map give fractional cells. Candidates are
    computed one at a time on shifted views, so no tensor of D times the maps' size is made.
    """
    steps, width = len(phases), target.shape[3]
    padded = [F.pad(phase, (num_cells, MARGIN_CELLS + 1)) for phase in phases]
    found: list[Tensor] = []
    for k in range((num_cells + MARGIN_CELLS) * steps + 1):
        whole, part = divmod(MARGIN_CELLS * steps - k, steps)  # u' = u + whole + part / steps
        start = num_cells + whole
        found.append((target * padded[part][..., start : start + width]).sum(1))
    return torch.stack(found, 1)


def check_rectified(K: Tensor, K_aux: Tensor, T_aux_camera: Tensor) -> None:
    """Raise InvalidRequest unless pairs share orientation and K and have a sideways baseline."""
    turn = (T_aux_camera[:, :3, :3] - torch.eye(3).to(T_aux_camera)).abs().amax().item()
    lens_px = (K - K_aux).abs().amax().item()
    along, off = T_aux_camera[:, 0, 3].abs(), T_aux_camera[:, 1:3, 3].abs().amax(1)
    sideways = bool((off <= MAX_OFF_AXIS * along).all() and (along > 0).all())
    if not (turn <= MAX_TURN and lens_px <= MAX_INTRINSICS_PX and sideways):
        raise InvalidRequest(
            f"found pairs rotated by up to {turn:.3f}, with intrinsics up to {lens_px:.1f} pixels "
            f"apart and baselines of {along.tolist()} m sideways and {off.tolist()} m in other "
            'directions, expected rectified pairs: rectify them, or set alignment "pose".'
        )


def _of_other(cosines: Tensor, steps: int) -> Tensor:
    """Cosines of the other image: c'(u', d) = c(u' + d, d) of (B, D, h, w), interpolated."""
    num, width = cosines.shape[1], cosines.shape[3]
    num_cells = (num - 1) // steps - MARGIN_CELLS
    padded = F.pad(cosines, (MARGIN_CELLS, num_cells + 1), value=OUTSIDE)
    found: list[Tensor] = []
    for k in range(num):
        whole, part = divmod(k - MARGIN_CELLS * steps, steps)
        start = MARGIN_CELLS + whole
        here, right = (padded[:, k, :, start + i : start + i + width] for i in (0, 1))
        found.append(torch.lerp(here, right, part / steps))
    return torch.stack(found, 1)


def _mirrored(x: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, x.flip(-1), x)
