"""Objectives of teacher and student: weighted sums of loss terms.

Teacher: md4all, eq. 9 (docs/papers/md4all.md), with its published weights. Student: SSD, eq. 8
(docs/papers/ssd.md); SSD does not publish the weights. Batches are those of the training loader,
collated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import LOSSES, Batch, LossInputs, Poses, need
from nightrain.depthmodel.losses.object_regions import mean_over_regions, object_regions
from nightrain.depthmodel.losses.reliability_mask import MaskMode, reliability_mask
from nightrain.depthmodel.losses.reprojection import min_reprojection_error, warp_sides
from nightrain.depthmodel.losses.weighted_sum import Loss, at_loss_size, weighted_sum

MaskOver = Literal["pixels", "objects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLoss:
    """Weights of the teacher's loss terms; a term with weight 0 is not computed.

    A supervised teacher has `silog` alone. `extra` adds terms of `LOSSES` or of your own
    ("package.module:Class") with their weights.
    """

    photometric: float = 1.0
    smoothness: float = 1e-3
    velocity: float = 0.02
    silog: float = 0.0
    automask: bool = True
    max_depth_m: float = 80.0  # measured depth beyond it is left out
    extra: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.extra:
            LOSSES.check(name)

    @property
    def terms(self) -> Mapping[str, float]:
        """Weight of every term."""
        return {
            "photometric": self.photometric,
            "velocity": self.velocity,
            "smoothness": self.smoothness,
            "silog": self.silog,
            **self.extra,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentLoss:
    """Weights of the student's loss terms; a term with weight 0 is not computed.

    `extra` adds terms of `LOSSES` or of your own ("package.module:Class") with their weights.
    """

    distillation: float = 1.0
    semantic: float = 0.1
    silog: float = 0.0
    smoothness: float = 0.0
    feature: float = 0.0  # of a network with restoration: adverse features to clear ones
    confidence: bool = True  # the labels' confidence weights the distillation
    mask_mode: MaskMode = "reliable"  # for `reliable_pixels`
    mask_over: MaskOver = "pixels"  # "objects": errors are averaged over parts of the clear depth
    max_depth_m: float = 80.0
    extra: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.extra:
            LOSSES.check(name)

    @property
    def terms(self) -> Mapping[str, float]:
        """Weight of every term."""
        return {
            "distillation": self.distillation,
            "semantic": self.semantic,
            "feature": self.feature,
            "smoothness": self.smoothness,
            "silog": self.silog,
            **self.extra,
        }


def teacher_loss(
    weights: TeacherLoss, batch: Batch, inverse_depth: Tensor, poses: Poses | None = None
) -> Loss:
    """Self-supervised and supervised loss of inverse depth (B, 1, H, W) in 1/m.

    Inverse depth is resized to the batch's images first. `poses` has one entry for each side to
    use; samples without that side (`has_previous`, `has_next`) are left out of it. Raises
    ValueError where a term with a weight lacks its input. Source: md4all, eq. 9
    (docs/papers/md4all.md).
    """
    poses = poses or {}
    if not poses and (weights.photometric or weights.velocity):
        raise ValueError("photometric and velocity losses need poses; give one for each side")
    inputs = LossInputs(
        batch=batch,
        inverse_depth=at_loss_size(inverse_depth, batch),
        poses=poses,
        automask=weights.automask,
        max_depth_m=weights.max_depth_m,
    )
    return weighted_sum(weights.terms, inputs)


def student_loss(
    weights: StudentLoss,
    batch: Batch,
    inverse_depth: Tensor,
    *,
    mask: Tensor | None = None,
    features: Tensor | None = None,
    frozen_features: Tensor | None = None,
    feature_error: Tensor | None = None,
) -> Loss:
    """Distillation and semantic loss of the student's inverse depth (B, 1, H, W) in 1/m.

    Inverse depth is resized to the labels first. `mask` (B, 1, h, w) is that of `reliable_pixels`,
    by default everywhere (warm-up); `features` (B, C, h, w) are the student's on its input,
    `frozen_features` the frozen encoder's on the clear frame; `feature_error` () is that of a
    restoration with a known target. Raises ValueError where a term with a weight lacks its input.
    Source: SSD, eq. 8 (docs/papers/ssd.md).
    """
    inputs = LossInputs(
        batch=batch,
        inverse_depth=at_loss_size(inverse_depth, batch),
        mask=mask,
        features=features,
        frozen_features=frozen_features,
        feature_error=feature_error,
        use_confidence=weights.confidence,
        max_depth_m=weights.max_depth_m,
    )
    return weighted_sum(weights.terms, inputs)


@torch.no_grad()
def reliable_pixels(
    batch: Batch,
    inverse_depth: Tensor,
    poses: Poses,
    mode: MaskMode,
    over: MaskOver = "pixels",
) -> Tensor:
    """Reliability mask (B, 1, h, w) bool of a batch: pixels where the labels supervise the student.

    `inverse_depth` (B, 1, H, W) in 1/m is the student's; `poses` are those of the clear frames.
    With `over` "objects" both errors are first averaged over the regions of the labels' depth.
    Pixels without a label have no teacher error and stay in the mask; the loss ignores them.
    Source: SSD, eqs. 4 and 5 (docs/papers/ssd.md).
    """
    label_m = need(batch, "label_depth_m")[:, None]
    if mode == "none":
        return torch.ones_like(label_m, dtype=torch.bool)
    target, has = need(batch, "target"), [need(batch, f"has_{side}") for side in poses]
    ours = warp_sides(batch, at_loss_size(inverse_depth, batch), poses)
    theirs = warp_sides(batch, torch.where(label_m > 0, label_m, 1.0).reciprocal(), poses)
    pe_teacher = min_reprojection_error(target, theirs, has)
    pe_teacher = torch.where(label_m > 0, pe_teacher, torch.inf)
    pe_student = min_reprojection_error(target, ours, has)
    if over == "objects":
        regions = object_regions(label_m)
        pe_teacher = mean_over_regions(pe_teacher, regions)
        pe_student = mean_over_regions(pe_student, regions)
    return reliability_mask(pe_teacher, pe_student, mode)
