"""A student: it sees variants, and learns the labels that a teacher gave the clear frame."""

import torch

from datasets.errors import Refused
from depthmodel.config import DepthConfig
from depthmodel.distillation import distillation
from depthmodel.dpt import resize
from depthmodel.losses import Losses, weighted
from depthmodel.model import DepthModel
from depthmodel.objectives import Batch, Objective, recorded_poses, reprojection
from depthmodel.reliability import reliability_mask
from depthmodel.semantic import semantic_error
from depthmodel.silog import silog
from depthmodel.training_config import StudentConfig


class Student(Objective):
    """Masked distillation, and features that stay those of the clear day (SSD, section 3.3).

    The teacher's depth comes from labels, made once; what the mask needs of it is computed from
    the labels, too, so no teacher runs. `reference` is the frozen encoder of the semantic loss.
    """

    def __init__(
        self, model: DepthConfig, config: StudentConfig, reference: DepthModel | None
    ) -> None:
        super().__init__({"depth": DepthModel(model)})
        self.config = config
        # In a list: it is no part of this module, is never trained, saved or set to training.
        self._reference = [] if reference is None else [reference.eval().requires_grad_(False)]
        if config.loss.semantic > 0 and reference is None:
            raise Refused(
                "the semantic loss needs a frozen encoder; name a teacher or a reference."
            )

    def forward(self, batch: Batch, epoch: int) -> Losses:
        """Losses of a batch of clear and translated frames."""
        prediction = self.model(batch["image"])
        taught_m = self._target_m(batch)
        size = (taught_m.shape[2], taught_m.shape[3])
        inverse_depth = resize(prediction.inverse_depth, size).float()
        known = taught_m > 0
        taught = torch.where(known, 1 / taught_m.clamp_min(self.model.config.min_depth_m), 0.0)
        mask = known & self._mask(batch, taught, inverse_depth, epoch)
        weight = mask.float() * self._confidence(batch)
        parts = {"distillation": distillation(inverse_depth, taught, weight)}
        counts = {"kept": float(mask.sum() / known.sum().clamp_min(1))}
        if self.config.loss.semantic > 0:
            frozen = self._frozen_features(batch["clear_image"])
            parts["semantic"] = semantic_error(prediction.features[-1].float(), frozen)
        if self.config.loss.silog > 0:
            config, true_m = self.model.config, batch["lidar_depth_m"].unsqueeze(1)
            found = silog(1 / inverse_depth, true_m, config.min_depth_m, config.max_depth_m)
            parts["silog"] = found.loss
            counts["images_without_depth"] = float(found.num_without)
        return weighted(parts, self.config.loss, counts)

    def _target_m(self, batch: Batch) -> torch.Tensor:
        """The depth to learn (B, 1, h, w) in metres, 0 = none."""
        name = "label_depth_m" if self.config.target == "labels" else "exact_depth_m"
        return batch[name].unsqueeze(1)

    def _confidence(self, batch: Batch) -> torch.Tensor | float:
        if not self.config.use_confidence or self.config.target != "labels":
            return 1.0
        return batch["label_confidence"].unsqueeze(1)

    @torch.no_grad()
    def _mask(
        self, batch: Batch, taught: torch.Tensor, inverse_depth: torch.Tensor, epoch: int
    ) -> torch.Tensor:
        mode = self.config.mask_mode
        if mode == "none" or epoch < self.config.num_unmasked_epochs:
            return torch.ones_like(taught, dtype=torch.bool)
        poses = recorded_poses(batch)
        farthest = 1 / self.model.config.max_depth_m
        teacher, student = (
            reprojection(batch, 1 / s.clamp_min(farthest), poses, automask=False).error
            for s in (taught, inverse_depth)
        )
        return reliability_mask(teacher, student, mode)

    @torch.no_grad()
    def _frozen_features(self, clear: torch.Tensor) -> torch.Tensor:
        reference = self._reference[0].to(clear.device)
        return reference.encode(clear)[-1].float()
