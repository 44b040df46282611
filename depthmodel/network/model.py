"""The depth network: an encoder, a decoder and a scaled inverse depth, with its preprocessing.

One class with four members, R0 to R3, by switches of the configuration. Tensors by name:

    backbone.*     R0  the encoder (depthmodel/network/encoder.py)
    head.*         R0  the DPT head (depthmodel/decoders/dpt.py); R2: with invertible lower stages
    decoder.*      R2  in the head's place: PixelFormer's wiring, or strictly invertible
    restoration.*  R1  feature restoration between encoder and decoder (restoration.py)
    auxview.*      R3  what another view adds to the two finer maps (depthmodel/auxview/enhancer.py)

Restoration and auxiliary view start as the identity, so that the weights of a network without them
load into it (depthmodel/network/family.py) and give the same depth, bit for bit.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.enhancer import AuxView, AuxViewEnhancer
from nightrain.depthmodel.auxview.view import AuxImages, AuxPicture
from nightrain.depthmodel.config import DepthConfig, StrictConfig
from nightrain.depthmodel.decoders.dpt import DptHead, resize
from nightrain.depthmodel.decoders.pixelformer import PixelFormerDecoder
from nightrain.depthmodel.decoders.strict import LATENT_CHANNELS, StrictDecoder
from nightrain.depthmodel.network import model_folder as storage
from nightrain.depthmodel.network.encoder import Backbone, normalised
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.predict import predict_pictures
from nightrain.depthmodel.restoration.feature_pack import FeaturePack
from nightrain.depthmodel.restoration.restoration import FeatureRestoration

MIN_SIDE_PIXELS = 32

Maps = tuple[torch.Tensor, ...]  # of the encoder, fine to coarse; see DepthModel.restored


class DepthPrediction(NamedTuple):
    """What the network says of a batch of images (B, 3, H, W)."""

    inverse_depth: torch.Tensor  # (B, 1, H, W) float32, 1/m
    features: Maps  # what the decoder saw: four maps (B, C, h, w); the last is final-normed
    encoded: Maps  # the same before restoration

    @property
    def depth_m(self) -> torch.Tensor:
        """Depth (B, 1, H, W) in metres."""
        return 1.0 / self.inverse_depth


class DepthModel(nn.Module):
    """Depth of single images in metres: s = 1/d_max + (1/d_min - 1/d_max) sigmoid(logit), d = 1/s.

    The formula is monodepth2's (Godard et al., ICCV 2019), with md4all's range of 0.1 to 80 m. An
    untrained network predicts about `config.initial_depth_m` everywhere, by the bias of the last
    layer. `encoder_name` says which pretrained encoder was loaded, "random" where none was.
    Raises InvalidRequest where `config.backbone.pretrained` cannot be loaded.
    """

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.encoder_name: str = self.backbone.name
        self.frozen: tuple[str, ...] = ()
        channels, patch = self.backbone.channels, self.backbone.patch
        strict = isinstance(config.decoder, StrictConfig)
        self.pack: FeaturePack | None = None  # no tensors of its own
        if strict or config.restoration is not None:
            self.pack = FeaturePack((channels[2], channels[3]), one_grid=patch is not None)
        self._add_decoder(config)
        self.restoration: FeatureRestoration | None = None
        if config.restoration is not None and self.pack is not None:
            width = LATENT_CHANNELS if strict else self.pack.channels
            self.restoration = FeatureRestoration(width, config.restoration)
        self.auxview: AuxViewEnhancer | None = None
        if config.auxview is not None:
            self.auxview = AuxViewEnhancer((channels[0], channels[1]), config.auxview)

    def _add_decoder(self, config: DepthConfig) -> None:
        channels, patch = self.backbone.channels, self.backbone.patch
        if config.decoder is None:
            self.head = DptHead(channels, config.head, one_grid=patch is not None)
            self.head.start_at(_logit_of(config.initial_depth_m, config))
        elif isinstance(config.decoder, StrictConfig):
            assert self.pack is not None
            low = channels[0], channels[1]
            self.decoder = StrictDecoder(self.pack.channels, low, config.decoder, patch)
        else:
            depths = config.min_depth_m, config.max_depth_m
            self.decoder = PixelFormerDecoder(channels, config.decoder, *depths)
            self.decoder.start_at(config.initial_depth_m)

    def forward(
        self,
        image: torch.Tensor,
        aux: AuxImages | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> DepthPrediction:
        """Predict at the size of `image` (B, 3, H, W), RGB in [0, 1], not normalised.

        `aux` is used by a network with an auxiliary view and makes no difference to another.
        Restoration starts from noise of `generator`, without one from none: then the same image
        gives the same depth. Where DINOv2's patch of 14 pixels does not divide H or W, the image is
        resized inside to the nearest size that it divides. Raises InvalidRequest for another shape
        or dtype, or for a view without the geometry that its alignment needs.
        """
        maps = self.enhanced(image, self.encode(image), aux)
        size = image.shape[2], image.shape[3]
        restored = self.restored(maps, size, generator=generator)[-1]
        return DepthPrediction(self.decode(restored, size), restored, maps)

    def encode(self, image: torch.Tensor) -> Maps:
        """Four feature maps (B, C_i, h_i, w_i) of an image (B, 3, H, W); raises InvalidRequest."""
        _check_image(image)
        return self.backbone(self._prepared(image))

    def enhanced(self, image: torch.Tensor, maps: Maps, aux: AuxImages | None) -> Maps:
        """The maps of an image, the finer two knowing of the other view; the same without one."""
        if self.auxview is None or aux is None or not bool(aux.present.any()):
            return maps
        _check_image(aux.image)
        size = image.shape[2], image.shape[3]
        view = AuxView(
            features=self.backbone.low(self._prepared(aux.image)),
            present=aux.present,
            K=aux.K,
            K_aux=aux.K_aux,
            T_aux_camera=aux.T_aux_camera,
            inverse_depth=self._without_view(maps, size),
            pictures=(image if aux.beside is None else aux.beside, aux.image),
        )
        fine, coarse = self.auxview((maps[0], maps[1]), view, size)
        return fine, coarse, *maps[2:]

    @torch.no_grad()
    def _without_view(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) of the image alone: a sweep begins there, a match is new."""
        return self.decode(self.restored(maps, size)[-1], size)

    def packed(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """What restoration restores (B, C, h, w): the two coarser maps as one, or the strict z."""
        assert self.pack is not None
        packed = self.pack(maps[2], maps[3])
        if isinstance(self.config.decoder, StrictConfig):
            assert isinstance(self.decoder, StrictDecoder)
            return self.decoder.project(packed, size)
        return packed

    def unpacked(self, packed: torch.Tensor, maps: Maps) -> Maps:
        """The maps whose coarser two are those in `packed`; of a strict decoder, (e0, e1, z)."""
        assert self.pack is not None
        if isinstance(self.config.decoder, StrictConfig):
            return maps[0], maps[1], packed
        return maps[0], maps[1], *self.pack.unpack(packed, (maps[2], maps[3]))

    def restored(
        self,
        maps: Maps,
        size: tuple[int, int],
        *,
        generator: torch.Generator | None = None,
    ) -> list[Maps]:
        """Maps for the decoder at every step of the restoration, the last step last."""
        if self.pack is None:
            return [maps]
        packed = self.packed(maps, size)
        if self.restoration is None:
            return [self.unpacked(packed, maps)]
        estimates = self.restoration(packed, generator=generator)
        return [self.unpacked(estimate, maps) for estimate in estimates]

    def decode(self, maps: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m at `size` (H, W) from the maps of an image.

        Between the configured depths, but for a strict decoder, whose log depth is not bounded.
        """
        if self.config.decoder is None:
            farthest, nearest = 1 / self.config.max_depth_m, 1 / self.config.min_depth_m
            share = torch.sigmoid(self.head(maps, size))
            return resize(farthest + (nearest - farthest) * share, size)
        if isinstance(self.decoder, StrictDecoder):
            return resize(torch.exp(-self.decoder(maps[2], (maps[0], maps[1]))), size)
        return resize(self.decoder(maps, size).reciprocal(), size)

    def freeze(self, parts: Iterable[str]) -> None:
        """Train these modules no more, by name ("backbone", "head.fusion.3"): eval mode for good.

        Gradients still pass through them. Raises InvalidRequest for a module that the network has
        not.
        """
        self.frozen = tuple(parts)
        for name in self.frozen:
            try:
                self.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                there = ", ".join(name for name, _ in self.named_children())
                raise InvalidRequest(
                    f"found no part {name!r} to freeze, expected one of {there}, or a part of one"
                ) from error
        self.train(self.training)

    def train(self, mode: bool = True) -> "DepthModel":
        """Training or eval mode; frozen parts stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    @torch.no_grad()
    def predict(
        self,
        images: Sequence[np.ndarray],
        batch_size: int = 8,
        aux: Sequence[AuxPicture | None] | None = None,
    ) -> list[np.ndarray]:
        """Depth (h, w) float32 in metres of each (h, w, 3) uint8 RGB image, of any sizes.

        Images are resized to `config.input_size`; the inverse depth is resized back. `aux` has a
        view, or None, for each image. Works in eval mode and leaves the mode as it was. Raises
        InvalidRequest for images of another shape or dtype.
        """
        return predict_pictures(self, images, batch_size, aux)

    @property
    def digest(self) -> str:
        """Digest of configuration and tensors: 16 hex digits, the same on every device.

        It reads all weights, so keep it where it is asked for often.
        """
        return storage.digest(self.config, self.state_dict())

    def save_pretrained(self, folder: str | Path, card: ModelCard) -> None:
        """Write config.json, model.safetensors and README.md, whole or not at all.

        A model saved there before is replaced. Raises InvalidRequest where the folder holds
        anything else, or where a weight is not finite.
        """
        storage.save(Path(folder), self.config, self.state_dict(), card, self.encoder_name)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu"
    ) -> "DepthModel":
        """Load what `save_pretrained` wrote, in eval mode.

        Raises InvalidRequest for another architecture, for tensors that are missing, too many, of
        another shape or not those that were saved. The random state is left as it was.
        """
        config = storage.load_config(Path(folder))
        with torch.random.fork_rng(devices=[]):  # the start is overwritten
            model = cls(config)
        saved = storage.load(Path(folder), config, model.state_dict())
        model.load_state_dict(saved.tensors)
        model.encoder_name = saved.encoder
        return model.to(device).eval()

    def _prepared(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised, at the nearest size that the encoder's patch divides; a pyramid takes any."""
        image, patch = normalised(image, self.config.normalisation), self.backbone.patch
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
        raise InvalidRequest(
            f"found images of shape {tuple(image.shape)} and {image.dtype}, expected (B, 3, H, W) "
            "floats in [0, 1]"
        )
    if image.shape[2] < MIN_SIDE_PIXELS or image.shape[3] < MIN_SIDE_PIXELS:
        raise InvalidRequest(
            f"found images of {image.shape[3]} x {image.shape[2]} pixels, expected sides of at "
            f"least {MIN_SIDE_PIXELS}: resize them to the model's input_size"
        )
