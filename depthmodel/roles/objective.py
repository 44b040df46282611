"""What a network is trained for: batches in, a loss and its parts out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nightrain.depthmodel.losses.weighted_sum import Loss, Poses, Side
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.pose import PoseNet

Batch = dict[str, Any]  # nightrain.datasets.loader.loader.Sample, collated
SIDES: tuple[Side, Side] = ("previous", "next")


class Objective(nn.Module, ABC):
    """The networks of a run and the loss that trains them; frozen ones stay out of `trained`."""

    def __init__(self, trained: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(dict(trained))  # "depth", and "pose" where one is trained

    @abstractmethod
    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch that lies on the networks' device."""

    @property
    def model(self) -> DepthModel:
        """The depth network in training."""
        model = self.trained["depth"]
        assert isinstance(model, DepthModel)
        return model

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Set the statistics of a restoration that has none yet, from a few training batches."""
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
        """Parameters by the name of their learning rate."""
        parts = {name: list(part.parameters()) for name, part in self.model.named_children()}
        groups = {name: parameters for name, parameters in parts.items() if parameters}
        if "pose" in self.trained:
            groups["pose"] = list(self.trained["pose"].parameters())
        return groups

    def save(self, folder: Path, card: ModelCard) -> None:
        """Write RUN/model, and RUN/pose where a pose network was trained along."""
        self.model.save_pretrained(folder / "model", card)
        if "pose" in self.trained:
            pose = self.trained["pose"]
            assert isinstance(pose, PoseNet)
            pose.save_pretrained(folder / "pose")


def recorded_poses(batch: Batch) -> Poses:
    """T_neighbour_camera (B, 4, 4) of each side, in metres, as the car recorded them."""
    return {side: batch[f"T_{side}_camera"] for side in SIDES}
