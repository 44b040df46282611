"""Objective: the networks of a run and the loss that trains them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from nightrain.depthmodel.losses.base import Poses, Side
from nightrain.depthmodel.losses.weighted_sum import Loss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard

Batch = dict[str, Any]  # nightrain.datasets.loader.loader.Sample, collated
SIDES: tuple[Side, Side] = ("previous", "next")


class Objective(nn.Module, ABC):
    """Module from a batch to its loss; `trained` holds the networks that the optimiser updates.

    `trained["depth"]` is the depth network. Each further network has a learning rate and a folder
    of its own name and needs a method `save_pretrained(folder)`. Frozen networks are not in it.
    """

    def __init__(self, trained: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(dict(trained))

    @abstractmethod
    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch on the networks' device; `epoch` counts from 0."""

    @property
    def model(self) -> DepthModel:
        """The depth network."""
        model = self.trained["depth"]
        assert isinstance(model, DepthModel)
        return model

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Set the feature statistics of a new restoration from a few training batches."""
        model, restoration = self.model, self.model.restoration
        if restoration is None or restoration.is_calibrated:
            return
        with torch.no_grad():
            images = (batch["image"] for batch in batches)
            restoration.calibrate(
                model.packed(model.encode(image), (image.shape[2], image.shape[3]))
                for image in images
            )

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of their learning rate: parts of the depth network, others."""
        parts = dict(self.model.named_children()) | self._others
        groups = {name: list(part.parameters()) for name, part in parts.items()}
        return {name: parameters for name, parameters in groups.items() if parameters}

    def save(self, folder: Path, card: ModelCard) -> None:
        """Write the depth network to RUN/model, and every other trained network to RUN/name."""
        self.model.save_pretrained(folder / "model", card)
        for name, network in self._others.items():
            cast(Any, network).save_pretrained(folder / name)

    @property
    def _others(self) -> dict[str, nn.Module]:
        return {name: network for name, network in self.trained.items() if name != "depth"}


def recorded_poses(batch: Batch) -> Poses:
    """T_neighbour_camera (B, 4, 4) of each side, in metres, as recorded."""
    return {side: batch[f"T_{side}_camera"] for side in SIDES}
