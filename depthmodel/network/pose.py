"""Pose network: rigid motion of the camera between two frames.

As in monodepth2 (Godard et al., ICCV 2019) and md4all: a ResNet on the two images, concatenated
along the channels, a few convolutions, and the mean of six outputs over the image.
"""

from pathlib import Path

import torch
from kornia.geometry.conversions import axis_angle_to_rotation_matrix
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.validation import in_one_line
from nightrain.depthmodel.config import EncoderConfig, PoseConfig
from nightrain.depthmodel.network import model_folder
from nightrain.depthmodel.network.encoder import TransformersEncoder

PIXEL_MEAN, PIXEL_STD = 0.45, 0.225  # of ImageNet over all colours, as in monodepth2


class PoseNet(nn.Module):
    """Pose network: (target, source) to T_source_target.

    The six outputs are an axis-angle vector in radians, then a translation in metres. T maps points
    of the target camera into the source camera: X_source = R X_target + t. Frames are always given
    as (target, source); for the other direction, call it again or use `inverse_pose`.
    """

    def __init__(self, config: PoseConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PoseConfig()
        resnet = EncoderConfig(kind="resnet", size=config.size, pretrained=config.pretrained)
        self.encoder = TransformersEncoder(resnet, in_channels=6)
        hidden = config.hidden_channels
        self.head = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, 6, 1),
        )

    def forward(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """T_source_target (B, 4, 4) of two images (B, 3, H, W), RGB in [0, 1].

        Raises InvalidRequest.
        """
        if target.shape != source.shape or target.ndim != 4 or target.shape[1] != 3:
            raise InvalidRequest(
                f"found images of shapes {tuple(target.shape)} and {tuple(source.shape)}, expected "
                "two of the same (B, 3, H, W)"
            )
        pair = torch.cat((target, source), dim=1)  # (B, 6, H, W)
        coarsest = self.encoder((pair - PIXEL_MEAN) / PIXEL_STD)[-1]
        motion = self.head(coarsest).float().mean(dim=(2, 3))  # (B, 6)
        return pose_matrix(
            motion[:, :3] * self.config.rotation_scale,
            motion[:, 3:] * self.config.translation_scale_m,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, whole or not at all.

        Replaces a network saved there before. Raises InvalidRequest, DiskFull.
        """
        text = self.config.model_copy(update={"pretrained": None}).model_dump_json(indent=2)
        model_folder.save(Path(folder), text, _identity(self.config), self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> "PoseNet":
        """Load what `save_pretrained` wrote, in eval mode; keeps the random state.

        Raises InvalidRequest for another network and for damaged files.
        """
        folder = Path(folder)
        try:
            config = PoseConfig.model_validate(parse_json(model_folder.read_config(folder)))
        except ValueError as error:
            raise InvalidRequest(
                f"{folder} is not a saved pose network: {in_one_line(error)}. Give "
                "the folder `pose` of a run."
            ) from error
        with torch.random.fork_rng(devices=[]):  # the start is overwritten
            with torch.device("meta"):  # shapes without memory
                model_folder.check(folder, cls(config).state_dict())
            network = cls(config)
        saved = model_folder.load(folder, _identity(config), network.state_dict())
        network.load_state_dict(saved.tensors)
        return network.to(device).eval()


def pose_matrix(axis_angle: torch.Tensor, translation_m: torch.Tensor) -> torch.Tensor:
    """T (B, 4, 4) of an axis-angle vector (B, 3) in radians and a translation (B, 3) in metres."""
    rotation = axis_angle_to_rotation_matrix(axis_angle)  # (B, 3, 3)
    return _assemble(rotation, translation_m)


def inverse_pose(T_b_a: torch.Tensor) -> torch.Tensor:
    """T_a_b (B, 4, 4) of a rigid T_b_a (B, 4, 4), by the transpose of its rotation."""
    rotation = T_b_a[:, :3, :3].transpose(1, 2)
    return _assemble(rotation, -(rotation @ T_b_a[:, :3, 3:]).squeeze(-1))


def _assemble(rotation: torch.Tensor, translation_m: torch.Tensor) -> torch.Tensor:
    top = torch.cat((rotation, translation_m.unsqueeze(-1)), dim=2)  # (B, 3, 4)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(top.shape[0], 1, 4)
    return torch.cat((top, bottom), dim=1)


def _identity(config: PoseConfig) -> str:
    return config.model_copy(update={"pretrained": None}).model_dump_json()
