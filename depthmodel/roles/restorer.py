"""Supervised training of some parts of the family on clear frames, the others being frozen.

Stage 0 trains a decoder on a frozen encoder, stage 1 the restoration, stage 2 the auxiliary view
(iid_rdepth.md, 4.6); which it is, the configuration says by what it freezes.
"""

import torch
from torch import Tensor

from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.decoders.strict import CELL, StrictDecoder, inverse_projected_target
from nightrain.depthmodel.losses.restoration import (
    deviation_loss,
    residual_loss,
    step_weights,
    steps_silog_loss,
    target_loss,
)
from nightrain.depthmodel.losses.weighted_sum import (
    Loss,
    LossSums,
    at_loss_size,
    finite_outputs,
    need,
)
from nightrain.depthmodel.network.model import DepthModel, Maps
from nightrain.depthmodel.roles.config import RestorerConfig
from nightrain.depthmodel.roles.objective import Batch, Objective


class Restorer(Objective):
    """Depth supervision at every step of the restoration, which the deviation loss holds together.

    A network without restoration has one step, and the depth loss alone.
    """

    def __init__(self, model: DepthConfig, config: RestorerConfig) -> None:
        super().__init__({"depth": DepthModel(model)})
        self.config = config

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear frames."""
        model, weights = self.model, self.config.loss
        image = batch["image"]
        size = image.shape[2], image.shape[3]
        hidden, wrong = self.config.aux_dropout, self.config.aux_wrong
        shares = {"hidden": hidden, "wrong": wrong} if self.training else {}
        view = view_of(batch, self.config.view, **shares)
        maps = model.enhanced(image, model.encode(image), view)
        restoration, estimates = model.restoration, list[Tensor]()
        packed = None if restoration is None else model.packed(maps, size)
        if restoration is None or packed is None:
            steps, step_weight = model.restored(maps, size), [1.0]
        else:
            estimates = restoration(packed, generator=self._noise())
            estimates, step_weight = self._supervised(estimates)
            steps = [model.unpacked(estimate, maps) for estimate in estimates]
        depths_m = [at_loss_size(model.decode(s, size), batch).reciprocal() for s in steps]
        truth_m = need(batch, f"{self.config.target}_depth_m")[:, None]  # (B, 1, h, w)
        valid = (truth_m > 0) & (truth_m <= weights.max_depth_m)
        sums = LossSums(finite_outputs(depths_m[-1].reciprocal(), {}))
        silog = steps_silog_loss(depths_m, truth_m, valid, step_weight)
        sums.add("silog", weights.silog, silog.loss)
        sums.statistics["images_without_depth"] = silog.images_without_depth
        sums.statistics["last_silog"] = silog.per_step[-1]
        if restoration is not None and packed is not None:
            self._add_restoration(sums, packed, estimates, restoration.std)
            if weights.projected and epoch >= self.config.num_epochs_before_projection:
                target, mask = self._projected(estimates[-1], maps, truth_m, valid)
                errors = [target_loss(e, target, restoration.std, mask) for e in estimates]
                sums.add("projected", weights.projected, torch.stack(errors).mean())
        return sums.loss()

    def _supervised(self, estimates: list[Tensor]) -> tuple[list[Tensor], list[float]]:
        """The steps whose depth is supervised, the last at the end, and what each counts.

        In training `supervised_steps` of them, the others being drawn: what they count makes up for
        those left out, so that the expected loss is that of all; where one is kept, it is the last.
        """
        num, weight = len(estimates), step_weights(len(estimates), self.config.loss.step_decay)
        count = self.config.supervised_steps
        if not self.training or count is None or count >= num:
            return estimates, weight
        drawn = sorted(torch.randperm(num - 1)[: count - 1].tolist())
        more = (num - 1) / max(1, count - 1)
        kept = [estimates[i] for i in (*drawn, num - 1)]
        return kept, [*(more * weight[i] for i in drawn), weight[-1]]

    def _noise(self) -> torch.Generator | None:
        """Noise of torch's generator where it trains; elsewhere none."""
        seed = int(torch.randint(2**62, ()))
        return torch.Generator().manual_seed(seed) if self.training else None

    def _add_restoration(
        self, sums: LossSums, packed: Tensor, estimates: list[Tensor], std: Tensor
    ) -> None:
        weights = self.config.loss
        if weights.deviation:
            sums.add("deviation", weights.deviation, deviation_loss(estimates, std))
        if weights.residual:
            sums.add("residual", weights.residual, residual_loss(estimates, packed, std))

    def _projected(
        self, estimate: Tensor, maps: Maps, truth_m: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The z (B, 256, h, w) of the measured depth, and where a cell holds any of it."""
        decoder, low = self.model.decoder, (maps[0], maps[1])
        assert isinstance(decoder, StrictDecoder)
        with torch.no_grad():
            u = decoder(estimate, low)
        target = inverse_projected_target(decoder, u, truth_m, valid, low)
        return target, torch.nn.functional.max_pool2d(valid.float(), CELL)
