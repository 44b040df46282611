"""The depth network: an encoder, a DPT head and a scaled inverse depth, with its preprocessing.

Names of the tensors, which every later member of the family shares:

    backbone.*     the encoder (depthmodel/backbone.py)
    head.*         the DPT head (depthmodel/dpt.py)
    restoration.*  kept free for feature restoration between the two (between encode and decode)
    auxview.*      kept free for an auxiliary view

A member that adds parts starts them as the identity, so that the weights of the plain network load
into it and give the same depth.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from datasets.errors import Refused
from datasets.images import resize_image
from depthmodel import storage
from depthmodel.backbone import Backbone
from depthmodel.card import ModelCard
from depthmodel.config import DepthConfig
from depthmodel.dpt import DptHead, resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_STD = 1e-3  # of a picture of one colour
MIN_SIDE_PIXELS = 32


class DepthPrediction(NamedTuple):
    """What the network says of a batch of images (B, 3, H, W)."""

    inverse_depth: torch.Tensor  # (B, 1, H, W) float32, 1/m
    features: tuple[torch.Tensor, ...]  # four encoder maps (B, C, h, w); the last is final-normed

    @property
    def depth_m(self) -> torch.Tensor:
        """Depth (B, 1, H, W) in metres."""
        return 1.0 / self.inverse_depth


class DepthModel(nn.Module):
    """Depth of single images in metres: s = 1/d_max + (1/d_min - 1/d_max) sigmoid(logit), d = 1/s.

    The formula is monodepth2's (Godard et al., ICCV 2019), with md4all's range of 0.1 to 80 m. An
    untrained network predicts about `config.initial_depth_m` everywhere, by the bias of the last
    layer. `encoder_name` says which pretrained encoder was loaded, "random" where none was.
    Raises Refused where `config.backbone.pretrained` cannot be loaded.
    """

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.encoder_name: str = self.backbone.name
        one_grid = self.backbone.patch is not None
        self.head = DptHead(self.backbone.channels, config.head, one_grid=one_grid)
        self.head.start_at(_logit_of(config.initial_depth_m, config))

    def forward(self, image: torch.Tensor) -> DepthPrediction:
        """Predict at the size of `image` (B, 3, H, W), RGB in [0, 1], not normalised.

        Where DINOv2's patch of 14 pixels does not divide H or W, the image is resized inside to the
        nearest size that it divides. Raises Refused for another shape or dtype.
        """
        features = self.encode(image)
        return DepthPrediction(self.decode(features, (image.shape[2], image.shape[3])), features)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four feature maps (B, C_i, h_i, w_i) of an image (B, 3, H, W); raises Refused."""
        _check_image(image)
        return self.backbone(self._whole_patches(self._normalised(image)))

    def decode(self, features: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m at `size` (H, W) from the four maps of an image."""
        farthest, nearest = 1 / self.config.max_depth_m, 1 / self.config.min_depth_m
        share = torch.sigmoid(self.head(features, size))
        return resize(farthest + (nearest - farthest) * share, size)

    @torch.no_grad()
    def predict(self, images: Sequence[np.ndarray], batch_size: int = 8) -> list[np.ndarray]:
        """Depth (h, w) float32 in metres of each (h, w, 3) uint8 RGB image, of any sizes.

        Images are resized to `config.input_size`; the inverse depth is resized back. Works in eval
        mode and leaves the mode as it was. Raises Refused for images of another shape or dtype.
        """
        for image in images:
            _check_picture(image)
        was_training = self.training
        self.eval()
        try:
            starts = range(0, len(images), batch_size)
            return [d for s in starts for d in self._predict_batch(images[s : s + batch_size])]
        finally:
            self.train(was_training)

    def _predict_batch(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        config, device = self.config, next(self.parameters()).device
        resized = np.stack([resize_image(image, config.input_size) for image in images])
        batch = torch.from_numpy(resized).to(device).permute(0, 3, 1, 2).float() / 255  # (B,3,H,W)
        inverse_depth = self(batch).inverse_depth
        depths: list[np.ndarray] = []
        for one, image in zip(inverse_depth.split(1), images, strict=True):
            depth_m = 1 / resize(one, (image.shape[0], image.shape[1]))[0, 0]
            depths.append(depth_m.clamp(config.min_depth_m, config.max_depth_m).cpu().numpy())
        return depths

    @property
    def digest(self) -> str:
        """Digest of configuration and tensors: 16 hex digits, the same on every device.

        It reads all weights, so keep it where it is asked for often.
        """
        return storage.digest(self.config, self.state_dict())

    def save_pretrained(self, folder: str | Path, card: ModelCard) -> None:
        """Write config.json, model.safetensors and README.md, whole or not at all.

        A model saved there before is replaced. Raises Refused where the folder holds anything
        else, or where a weight is not finite.
        """
        storage.save(Path(folder), self.config, self.state_dict(), card, self.encoder_name)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu"
    ) -> "DepthModel":
        """Load what `save_pretrained` wrote, in eval mode.

        Raises Refused for another architecture, for tensors that are missing, too many, of another
        shape or not those that were saved. The random state is left as it was.
        """
        config = storage.load_config(Path(folder))
        with torch.random.fork_rng(devices=[]):  # the start is overwritten
            model = cls(config)
        saved = storage.load(Path(folder), config, model.state_dict())
        model.load_state_dict(saved.tensors)
        model.encoder_name = saved.encoder
        return model.to(device).eval()

    def _normalised(self, image: torch.Tensor) -> torch.Tensor:
        if self.config.normalisation == "imagenet":
            mean, std = (
                image.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
            )
            return (image - mean) / std
        if self.config.normalisation == "per-image":
            mean = image.mean(dim=(1, 2, 3), keepdim=True)
            std = (image - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            return (image - mean) / std.clamp_min(MIN_STD)
        return image

    def _whole_patches(self, image: torch.Tensor) -> torch.Tensor:
        """Nearest size that the encoder's patch divides; a pyramid takes any."""
        patch = self.backbone.patch
        if patch is None:
            return image
        height, width = (max(1, round(side / patch)) * patch for side in image.shape[2:])
        return resize(image, (height, width))


def _logit_of(depth_m: float, config: DepthConfig) -> float:
    """The logit at which the network predicts `depth_m`."""
    farthest, nearest = 1 / config.max_depth_m, 1 / config.min_depth_m
    share = (1 / depth_m - farthest) / (nearest - farthest)
    return math.log(share / (1 - share))


def _check_image(image: torch.Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise Refused(
            f"found images of shape {tuple(image.shape)} and {image.dtype}, expected (B, 3, H, W) "
            "floats in [0, 1]"
        )
    if image.shape[2] < MIN_SIDE_PIXELS or image.shape[3] < MIN_SIDE_PIXELS:
        raise Refused(
            f"found images of {image.shape[3]} x {image.shape[2]} pixels, expected sides of at "
            f"least {MIN_SIDE_PIXELS}: resize them to the model's input_size"
        )


def _check_picture(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise Refused(
            f"found an image of shape {image.shape} and {image.dtype}, expected (h, w, 3) uint8 RGB"
        )
