"""Restorer: supervised training of some parts of a network on clear frames, the others frozen.

Stage 0 trains a decoder on a frozen encoder, stage 1 the restoration, stage 2 the auxiliary view;
the frozen parts decide which (IID-RDepth, section 4.6, docs/papers/iid_rdepth.md).
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.config import DepthConfig, ViewKind
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.losses.base import LossInputs, need
from nightrain.depthmodel.losses.restoration import (
    RestorerLoss,
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
)
from nightrain.depthmodel.network.model import DepthModel, make_model
from nightrain.depthmodel.network.shared_weights import load_shared
from nightrain.depthmodel.roles.objective import Batch, Objective
from nightrain.depthmodel.roles.role import Option, Role, require
from nightrain.depthmodel.roles.start import require_same_parts

SAME_AS_BASE = ("encoder", "min_depth_m", "max_depth_m", "normalisation")


class RestorerRole(Role):
    """Settings of a restorer.

    `base` is a model folder that initialises the parts of the same name. `target` is LiDAR depth,
    or a rendered world's exact depth, which `data.sparse_share` thins. The auxiliary view is the
    stereo partner or the previous frame. `aux_dropout` hides it in that share of the samples, so
    that one network works with and without it; `aux_wrong` replaces it with another sample's view
    in that share, so that the network learns to reject a view that does not match.
    `supervised_steps` decodes that many steps of the restoration per training step instead of all:
    the last one and others at random, which halves time and memory.
    """

    options: ClassVar[frozenset[Option]] = frozenset({"base"})
    base: Path | None = None
    frozen: tuple[str, ...] = ("encoder",)
    target: Literal["lidar", "exact"] = "exact"
    view: ViewKind = "stereo"
    aux_dropout: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    aux_wrong: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    supervised_steps: Annotated[int, Field(ge=1)] | None = None  # of restoration; None: all
    num_epochs_before_projection: Annotated[int, Field(ge=0)] = 2
    loss: RestorerLoss = RestorerLoss()

    def check(self, model: DepthConfig, data: TrainingSetConfig) -> None:
        """Raise ValueError where the target's depth or the auxiliary view's data are missing."""
        reason = "a restorer trains parts of the built-in network; choose another role"
        require(not model.has_own_network, "model.network", reason)
        has = {"lidar": data.lidar_depth, "exact": data.exact_depth}
        require(has[self.target], f"data.{self.target}_depth", "learning from this depth needs it")
        if model.auxview is not None:
            self._check_view(data)
        if self.loss.clear:
            reason = "only a network with restoration can restore the clear frame's features"
            require(model.restoration is not None, "role.loss.clear", reason)
            reason = "features of two images can be compared if the encoder is frozen"
            require("encoder" in self.frozen, "role.frozen", reason)
        if self.loss.projected:
            reason = "only a strict decoder can be inverted"
            require(model.inverts_depth, "role.loss.projected", reason)

    def _check_view(self, data: TrainingSetConfig) -> None:
        if self.view == "stereo":
            require(data.stereo, "data.stereo", "an auxiliary view needs the stereo partners")
        if self.view == "previous":
            reason = "the previous frame as a view needs the neighbouring frames"
            require(data.neighbours, "data.neighbours", reason)
            reason = f"the previous frame is loaded at this size; expected {data.input_size}"
            require(data.input_size == data.loss_size, "data.loss_size", reason)

    def objective(self, model: DepthConfig) -> "RestorerObjective":
        """Build the network, with the base's weights in the parts that both have."""
        restorer = RestorerObjective(model, self)
        if self.base is not None:
            base = DepthModel.from_pretrained(self.base)
            purpose = "To start from another network"
            require_same_parts(base.config, model, SAME_AS_BASE, purpose)
            load_shared(restorer.model, base.state_dict())
        return restorer

    def card_words(self, data: TrainingSetConfig) -> str:
        """Describe the training frames, the target and the frozen parts."""
        shown, frozen = ", ".join(data.conditions), ", ".join(self.frozen) or "nothing"
        return f"Trained on {shown} frames with {self.target} depth; frozen: {frozen}."


class RestorerObjective(Objective):
    """Depth supervision at every step of the restoration, with the deviation loss between steps.

    A network without restoration has one step and the depth loss alone.
    """

    def __init__(self, model: DepthConfig, role: RestorerRole) -> None:
        super().__init__({"depth": make_model(model)})
        self.role = role

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear frames."""
        model, weights = self.model, self.role.loss
        image = batch["image"]
        size = image.shape[2], image.shape[3]
        hidden, wrong = self.role.aux_dropout, self.role.aux_wrong
        shares = {"hidden": hidden, "wrong": wrong} if self.training else {}
        view = view_of(batch, self.role.view, **shares)
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
        truth_m = need(batch, f"{self.role.target}_depth_m")[:, None]  # (B, 1, h, w)
        valid = (truth_m > weights.min_depth_m) & (truth_m <= weights.max_depth_m)
        sums = LossSums(finite_outputs(depths_m[-1].reciprocal(), {}))
        silog = steps_silog_loss(depths_m, truth_m, valid, step_weight)
        sums.add("silog", weights.silog, silog.loss)
        sums.statistics["images_without_depth"] = silog.images_without_depth
        sums.statistics["last_silog"] = silog.per_step[-1]
        inputs = LossInputs(batch=batch, inverse_depth=depths_m[-1].reciprocal())
        sums.add_terms(weights.extra, inputs)
        if self.training and model.auxview is not None:
            # Where no sample of the batch has a view, the loss would depend on no parameter of it.
            sums.weighted.append(_zero_of(model.auxview))
        if restoration is not None and packed is not None:
            self._add_restoration(sums, packed, estimates, restoration.std)
            if weights.clear:
                clear = self._clear_features(batch["clear_image"])
                errors = [target_loss(e, clear, restoration.std) for e in estimates]
                sums.add("clear", weights.clear, torch.stack(errors).mean())
            if weights.projected and epoch >= self.role.num_epochs_before_projection:
                target, mask = self._projected(estimates[-1], maps, truth_m, valid)
                errors = [target_loss(e, target, restoration.std, mask) for e in estimates]
                sums.add("projected", weights.projected, torch.stack(errors).mean())
        return sums.loss()

    def _supervised(self, estimates: list[Tensor]) -> tuple[list[Tensor], list[float]]:
        """Select the steps to supervise, the last one at the end, and their weights.

        In training, `supervised_steps` are selected: the last one, and others at random, weighted
        so that the expected loss equals that of all steps.
        """
        num, weight = len(estimates), step_weights(len(estimates), self.role.loss.step_decay)
        count = self.role.supervised_steps
        if not self.training or count is None or count >= num:
            return estimates, weight
        drawn = sorted(torch.randperm(num - 1)[: count - 1].tolist())
        more = (num - 1) / max(1, count - 1)
        kept = [estimates[i] for i in (*drawn, num - 1)]
        return kept, [*(more * weight[i] for i in drawn), weight[-1]]

    def _noise(self) -> torch.Generator | None:
        """Generator of the chain's noise, seeded by torch's; None outside training: no noise."""
        seed = int(torch.randint(2**62, ()))
        return torch.Generator().manual_seed(seed) if self.training else None

    def _add_restoration(
        self, sums: LossSums, packed: Tensor, estimates: list[Tensor], std: Tensor
    ) -> None:
        weights = self.role.loss
        if weights.deviation:
            sums.add("deviation", weights.deviation, deviation_loss(estimates, std))
        if weights.residual:
            sums.add("residual", weights.residual, residual_loss(estimates, packed, std))

    @torch.no_grad()
    def _clear_features(self, image: Tensor) -> Tensor:
        """Features (B, C, h, w) of the clear frames (B, 3, H, W), before any restoration."""
        return self.model.packed(self.model.encode(image), (image.shape[2], image.shape[3]))

    def _projected(
        self, estimate: Tensor, maps: Maps, truth_m: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map measured depth back to a feature z (B, 256, h, w), and return its mask."""
        decoder = self.model.decoder
        return decoder.packed_target(decoder.unpacked(estimate, maps), truth_m, valid)


def _zero_of(module: torch.nn.Module) -> Tensor:
    """Zero () that depends on every parameter of a module."""
    return torch.stack([parameter.sum() * 0 for parameter in module.parameters()]).sum()
