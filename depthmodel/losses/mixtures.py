"""What the teacher and the student minimise: weighted sums of the losses, with their parts.

Batches are what the training loader gives, collated. Weights: md4all's baseline for the teacher;
SSD (Mao et al. 2024), eqs. 6 and 7, for the student, whose published text does not give them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nightrain.depthmodel.losses.distillation import distillation_loss
from nightrain.depthmodel.losses.reliability_mask import MaskMode, reliability_mask
from nightrain.depthmodel.losses.reprojection import (
    Warped,
    min_reprojection,
    min_reprojection_error,
    warp,
)
from nightrain.depthmodel.losses.semantic import semantic_loss
from nightrain.depthmodel.losses.silog import silog_loss
from nightrain.depthmodel.losses.smoothness import smoothness_loss
from nightrain.depthmodel.losses.velocity import velocity_loss
from nightrain.depthmodel.losses.weighted_sum import (
    Batch,
    Loss,
    LossSums,
    Poses,
    at_loss_size,
    finite_outputs,
    need,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLoss:
    """Weights; a part with weight 0 is not computed. Supervised: only `silog` is not 0."""

    photometric: float = 1.0
    smoothness: float = 1e-3
    velocity: float = 0.02
    silog: float = 0.0
    automask: bool = True
    max_depth_m: float = 80.0  # measured depth beyond it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentLoss:
    """Weights; a part with weight 0 is not computed."""

    distillation: float = 1.0
    semantic: float = 0.1
    silog: float = 0.0
    smoothness: float = 0.0
    feature: float = 0.0  # of a network with restoration: adverse features to clear ones
    confidence: bool = True  # the labels' confidence weighs the distillation
    mask_mode: MaskMode = "reliable"  # for `reliable_pixels`
    max_depth_m: float = 80.0


def teacher_loss(
    weights: TeacherLoss, batch: Batch, inverse_depth: Tensor, poses: Poses | None = None
) -> Loss:
    """Self-supervised and supervised losses of inverse depth (B, 1, H, W) in 1/m.

    Inverse depth is resized to the batch's images first. `poses` are those of the sides to be
    used; a sample without one (`has_previous`, `has_next`) is left out there. Raises ValueError
    where a part with a weight lacks its input.
    """
    poses = poses or {}
    if not poses and (weights.photometric or weights.velocity):
        raise ValueError("photometric and velocity losses need a pose; give those of the sides")
    inverse_depth = at_loss_size(inverse_depth, batch)
    sums = LossSums(finite_outputs(inverse_depth, poses))
    if weights.photometric:
        reprojection = min_reprojection(
            need(batch, "target"),
            [need(batch, side) for side in poses],
            _warped(batch, inverse_depth, poses),
            [need(batch, f"has_{side}") for side in poses],
            automask=weights.automask,
        )
        sums.add("photometric", weights.photometric, reprojection.loss)
        sums.statistics["seen"] = reprojection.seen.float().mean()
        sums.statistics["active"] = reprojection.active.float().mean()
    if weights.velocity:
        true = [need(batch, f"T_{side}_camera") for side in poses]
        has = [need(batch, f"has_{side}") for side in poses]
        sums.add("velocity", weights.velocity, velocity_loss(list(poses.values()), true, has))
    _add_smoothness(sums, weights.smoothness, batch, inverse_depth)
    _add_silog(sums, weights.silog, batch, inverse_depth, weights.max_depth_m)
    return sums.loss()


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
    """Distillation and semantic losses of the student's inverse depth (B, 1, H, W) in 1/m.

    Inverse depth is resized to the labels first. `mask` (B, 1, h, w) is of `reliable_pixels`,
    everywhere by default (warm-up); `features` are the student's (B, C, h, w) on its input,
    `frozen_features` the frozen encoder's on the clear frame; `feature_error` () is that of
    restoration with a known target. Raises ValueError where a part with
    a weight lacks its input.
    """
    inverse_depth = at_loss_size(inverse_depth, batch)
    sums = LossSums(finite_outputs(inverse_depth, {}))
    if weights.distillation:
        label_m = need(batch, "label_depth_m")[:, None]  # (B, 1, h, w), 0 = no label
        weight = (label_m > 0).float()
        sums.statistics["images_without_label"] = (weight.flatten(1).sum(1) == 0).sum()
        if mask is not None:
            weight = weight * mask
        sums.statistics["supervised"] = weight.mean()
        if weights.confidence:
            weight = weight * need(batch, "label_confidence")[:, None]
        distilled = distillation_loss(inverse_depth, label_m.reciprocal(), weight)
        sums.add("distillation", weights.distillation, distilled)
    if weights.semantic:
        if features is None or frozen_features is None:
            raise ValueError("the semantic loss needs features and frozen_features")
        sums.add("semantic", weights.semantic, semantic_loss(features, frozen_features))
    if weights.feature:
        if feature_error is None:
            raise ValueError("the feature loss needs feature_error, of a network that restores")
        sums.add("feature", weights.feature, feature_error)
    _add_smoothness(sums, weights.smoothness, batch, inverse_depth)
    _add_silog(sums, weights.silog, batch, inverse_depth, weights.max_depth_m)
    return sums.loss()


@torch.no_grad()
def reliable_pixels(batch: Batch, inverse_depth: Tensor, poses: Poses, mode: MaskMode) -> Tensor:
    """Where the labels of the batch supervise the student: (B, 1, h, w) bool.

    `inverse_depth` (B, 1, H, W) is the student's, `poses` are the frozen teacher's on the clear
    frames. A pixel without a label has no teacher's error and is kept; the loss leaves it out.
    Source: SSD, eqs. 4 and 5.
    """
    label_m = need(batch, "label_depth_m")[:, None]
    if mode == "none":
        return torch.ones_like(label_m, dtype=torch.bool)
    target, has = need(batch, "target"), [need(batch, f"has_{side}") for side in poses]
    ours = _warped(batch, at_loss_size(inverse_depth, batch), poses)
    theirs = _warped(batch, torch.where(label_m > 0, label_m, 1.0).reciprocal(), poses)
    pe_teacher = min_reprojection_error(target, theirs, has)
    pe_teacher = torch.where(label_m > 0, pe_teacher, torch.inf)
    return reliability_mask(pe_teacher, min_reprojection_error(target, ours, has), mode)


def _add_smoothness(sums: LossSums, weight: float, batch: Batch, inverse_depth: Tensor) -> None:
    if weight:
        sums.add("smoothness", weight, smoothness_loss(inverse_depth, need(batch, "target")))


def _add_silog(
    sums: LossSums, weight: float, batch: Batch, inverse_depth: Tensor, max_depth_m: float
) -> None:
    if weight:
        true_m = need(batch, "lidar_depth_m")[:, None]  # (B, 1, h, w), 0 = no return
        silog = silog_loss(inverse_depth.reciprocal(), true_m, true_m <= max_depth_m)
        sums.add("silog", weight, silog.loss)
        sums.statistics["images_without_depth"] = silog.images_without_depth


def _warped(batch: Batch, inverse_depth: Tensor, poses: Poses) -> list[Warped]:
    depth_m, K = inverse_depth.reciprocal(), need(batch, "intrinsics")
    return [
        warp(need(batch, side), depth_m, pose, K, need(batch, f"{side}_intrinsics"))
        for side, pose in poses.items()
    ]
