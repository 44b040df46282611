"""What the teacher and the student minimise: weighted sums of the losses, with their parts.

Batches are what `datasets.loader` gives, collated. Weights: md4all's baseline for the teacher;
SSD (Mao et al. 2024), eqs. 6 and 7, for the student, whose published text does not give them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import NightrainError
from depthmodel.distillation import distillation_loss
from depthmodel.reliability import MaskMode, reliability_mask
from depthmodel.reprojection import Warped, min_reprojection, min_reprojection_error, warp
from depthmodel.semantic import semantic_loss
from depthmodel.silog import silog_loss
from depthmodel.smoothness import smoothness_loss
from depthmodel.velocity import velocity_loss

Side = Literal["previous", "next"]
Batch = Mapping[str, Tensor]
Poses = Mapping[Side, Tensor]  # T_source_target (B, 4, 4), metres, as the pose network has them


class NonFiniteLoss(NightrainError):
    """A part of a loss, or the depth it is of, is NaN or infinite; no step must be taken."""


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
    confidence: bool = True  # the labels' confidence weighs the distillation
    mask_mode: MaskMode = "reliable"  # for `reliable_pixels`
    max_depth_m: float = 80.0


@dataclass(frozen=True, slots=True)
class Loss:
    """The sum to minimise and what it is made of."""

    total: Tensor  # ()
    parts: dict[str, Tensor]  # () each, before weighting, without gradient
    statistics: dict[str, Tensor]  # () each: shares of pixels, images that were skipped
    finite: Tensor  # (B,) bool: the sample's inverse depth and poses are numbers

    def values(self, sample_ids: Sequence[str]) -> dict[str, float]:
        """Total, parts and statistics as floats, for a log; call it before the step is taken.

        Waits for the device once. Raises NonFiniteLoss with the parts and the samples at fault.
        """
        named = {"loss": self.total.detach(), **self.parts, **self.statistics}
        numbers = torch.stack([*(n.float() for n in named.values()), self.finite.all().float()])
        *values, finite = numbers.tolist()
        bad = [name for name, value in zip(named, values, strict=True) if not isfinite(value)]
        if bad or not finite:
            raise NonFiniteLoss(self._complaint(bad, sample_ids))
        return dict(zip(named, values, strict=True))

    def _complaint(self, bad: Sequence[str], sample_ids: Sequence[str]) -> str:
        finite = self.finite.tolist()
        ids = [i for i, ok in zip(sample_ids, finite, strict=True) if not ok]
        what = f"{', '.join(bad) or 'inverse depth or a pose'} is not finite"
        whose = f"the network's output is not finite for {', '.join(ids)}"
        if not ids:
            whose = f"the network's output is finite; samples: {', '.join(sample_ids)}"
        return (
            f"{what}; {whose}. A finite loss was expected: look at these samples, or go back to "
            "the last checkpoint with a lower learning rate or without bf16"
        )


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
    inverse_depth = _at_loss_size(inverse_depth, batch)
    sums = _Sums(_finite(inverse_depth, poses))
    if weights.photometric:
        reprojection = min_reprojection(
            _need(batch, "target"),
            [_need(batch, side) for side in poses],
            _warped(batch, inverse_depth, poses),
            [_need(batch, f"has_{side}") for side in poses],
            automask=weights.automask,
        )
        sums.add("photometric", weights.photometric, reprojection.loss)
        sums.statistics["seen"] = reprojection.seen.float().mean()
        sums.statistics["active"] = reprojection.active.float().mean()
    if weights.velocity:
        true = [_need(batch, f"T_{side}_camera") for side in poses]
        has = [_need(batch, f"has_{side}") for side in poses]
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
) -> Loss:
    """Distillation and semantic losses of the student's inverse depth (B, 1, H, W) in 1/m.

    Inverse depth is resized to the labels first. `mask` (B, 1, h, w) is of `reliable_pixels`,
    everywhere by default (warm-up); `features` are the student's (B, C, h, w) on its input,
    `frozen_features` the frozen encoder's on the clear frame. Raises ValueError where a part with
    a weight lacks its input.
    """
    inverse_depth = _at_loss_size(inverse_depth, batch)
    sums = _Sums(_finite(inverse_depth, {}))
    if weights.distillation:
        label_m = _need(batch, "label_depth_m")[:, None]  # (B, 1, h, w), 0 = no label
        weight = (label_m > 0).float()
        sums.statistics["images_without_label"] = (weight.flatten(1).sum(1) == 0).sum()
        if mask is not None:
            weight = weight * mask
        sums.statistics["supervised"] = weight.mean()
        if weights.confidence:
            weight = weight * _need(batch, "label_confidence")[:, None]
        distilled = distillation_loss(inverse_depth, label_m.reciprocal(), weight)
        sums.add("distillation", weights.distillation, distilled)
    if weights.semantic:
        if features is None or frozen_features is None:
            raise ValueError("the semantic loss needs features and frozen_features")
        sums.add("semantic", weights.semantic, semantic_loss(features, frozen_features))
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
    label_m = _need(batch, "label_depth_m")[:, None]
    if mode == "none":
        return torch.ones_like(label_m, dtype=torch.bool)
    target, has = _need(batch, "target"), [_need(batch, f"has_{side}") for side in poses]
    ours = _warped(batch, _at_loss_size(inverse_depth, batch), poses)
    theirs = _warped(batch, torch.where(label_m > 0, label_m, 1.0).reciprocal(), poses)
    pe_teacher = min_reprojection_error(target, theirs, has)
    pe_teacher = torch.where(label_m > 0, pe_teacher, torch.inf)
    return reliability_mask(pe_teacher, min_reprojection_error(target, ours, has), mode)


@dataclass(slots=True)
class _Sums:
    """Parts as they come."""

    finite: Tensor
    weighted: list[Tensor] = field(default_factory=list)
    parts: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, weight: float, loss: Tensor) -> None:
        self.weighted.append(weight * loss)
        self.parts[name] = loss.detach()

    def loss(self) -> Loss:
        if not self.weighted:
            raise ValueError("every weight is 0; give at least one part a weight")
        return Loss(torch.stack(self.weighted).sum(), self.parts, self.statistics, self.finite)


def _add_smoothness(sums: _Sums, weight: float, batch: Batch, inverse_depth: Tensor) -> None:
    if weight:
        sums.add("smoothness", weight, smoothness_loss(inverse_depth, _need(batch, "target")))


def _add_silog(
    sums: _Sums, weight: float, batch: Batch, inverse_depth: Tensor, max_depth_m: float
) -> None:
    if weight:
        true_m = _need(batch, "lidar_depth_m")[:, None]  # (B, 1, h, w), 0 = no return
        silog = silog_loss(inverse_depth.reciprocal(), true_m, true_m <= max_depth_m)
        sums.add("silog", weight, silog.loss)
        sums.statistics["images_without_depth"] = silog.images_without_depth


def _warped(batch: Batch, inverse_depth: Tensor, poses: Poses) -> list[Warped]:
    depth_m, K = inverse_depth.reciprocal(), _need(batch, "intrinsics")
    return [
        warp(_need(batch, side), depth_m, pose, K, _need(batch, f"{side}_intrinsics"))
        for side, pose in poses.items()
    ]


def _at_loss_size(inverse_depth: Tensor, batch: Batch) -> Tensor:
    """Inverse depth (B, 1, h, w) float32 at the size of the batch's images or depth maps.

    Bilinear, corners of pixels aligned: pixel centres move as `scaled_intrinsics` has them.
    """
    inverse_depth = inverse_depth.float()
    maps = [batch[key] for key in ("target", "label_depth_m", "lidar_depth_m") if key in batch]
    if not maps or maps[0].shape[-2:] == inverse_depth.shape[-2:]:
        return inverse_depth
    size = maps[0].shape[-2:]
    return F.interpolate(inverse_depth, size=size, mode="bilinear", align_corners=False)


def _finite(inverse_depth: Tensor, poses: Poses) -> Tensor:
    outputs = [inverse_depth, *poses.values()]
    return torch.stack([torch.isfinite(o).flatten(1).all(1) for o in outputs]).all(0)  # (B,)


def _need(batch: Batch, key: str) -> Tensor:
    if key not in batch:
        raise ValueError(f"the batch has no {key!r}, only {sorted(batch)}; ask the loader for it")
    return batch[key]
