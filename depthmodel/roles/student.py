"""A student: it sees variants, and learns the labels that a teacher gave the clear frame."""

import torch

from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.losses.mixtures import reliable_pixels, student_loss
from nightrain.depthmodel.losses.restoration import target_loss
from nightrain.depthmodel.losses.weighted_sum import Loss
from nightrain.depthmodel.network.model import DepthModel, Maps
from nightrain.depthmodel.roles.config import StudentConfig
from nightrain.depthmodel.roles.objective import Batch, Objective, recorded_poses


class Student(Objective):
    """Masked distillation, and features that stay those of the clear day (SSD, section 3.3).

    The teacher's depth comes from labels, made once; what the mask needs of it is computed from
    the labels, too, so no teacher runs. `reference` is the frozen network whose encoder the
    semantic loss follows.
    """

    def __init__(
        self, model: DepthConfig, config: StudentConfig, reference: DepthModel | None
    ) -> None:
        super().__init__({"depth": DepthModel(model)})
        self.config = config
        # In a list: it is no part of this module, is never trained, saved or set to training.
        self._reference = [] if reference is None else [reference.eval().requires_grad_(False)]

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear and translated frames."""
        prediction = self.trained["depth"](batch["image"])
        clear_maps = self._clear_maps(batch)
        if self.config.target == "exact":
            known = (batch["exact_depth_m"] > 0).float()
            batch = batch | {"label_depth_m": batch["exact_depth_m"], "label_confidence": known}
        return student_loss(
            self.config.loss,
            batch,
            prediction.inverse_depth,
            mask=self._mask(batch, prediction.inverse_depth, epoch),
            features=prediction.features[-1],
            frozen_features=None if clear_maps is None else clear_maps[-1],
            feature_error=self._feature_error(prediction.encoded, batch, clear_maps),
        )

    def _mask(self, batch: Batch, inverse_depth: torch.Tensor, epoch: int) -> torch.Tensor | None:
        mode = self.config.loss.mask_mode
        if mode == "none" or epoch < self.config.num_unmasked_epochs:
            return None
        return reliable_pixels(batch, inverse_depth, recorded_poses(batch), mode)

    @torch.no_grad()
    def _clear_maps(self, batch: Batch) -> Maps | None:
        if not self._reference:
            return None
        clear = batch["clear_image"]
        return self._reference[0].to(clear.device).encode(clear)

    def _feature_error(
        self, encoded: Maps, batch: Batch, clear_maps: Maps | None
    ) -> torch.Tensor | None:
        """How far restoration is from the clear frame's features, from a random step of the chain.

        The pair (clear, adverse) of one frame is what the paper lacks: a target (iid_rdepth.md,
        section 7). It needs one frozen encoder for both.
        """
        model, restoration = self.model, self.model.restoration
        if not self.config.loss.feature or restoration is None or clear_maps is None:
            return None
        image = batch["image"]
        size = image.shape[2], image.shape[3]
        features = model.packed(encoded, size)
        target = model.packed(clear_maps, size)
        steps = torch.randint(1, restoration.config.effective_steps + 1, (len(image),))
        eps = torch.randn_like(restoration.standardise(features))
        estimate = restoration.estimate_from(features, target, steps.to(image.device), eps)
        return target_loss(estimate, target, restoration.std)
