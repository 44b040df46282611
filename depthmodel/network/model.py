"""Depth network: an encoder, a decoder and a scaled inverse depth, with its preprocessing.

Tensors by name:

    encoder.*      the encoder (depthmodel/network/encoder.py)
    decoder.*      DPT, PixelFormer, strictly invertible, or your own (depthmodel/decoders/base.py)
    restoration.*  feature restoration between encoder and decoder (depthmodel/restoration/)
    auxview.*      what another view adds to the two finer maps (depthmodel/auxview/enhancer.py)

R0 has none of the last two; the restoration models are R1 (restoration), R2 (restoration and a
decoder with invertible lower stages) and R3 (an auxiliary view). Both parts start as the identity,
so the weights of a network without them load into it (depthmodel/network/shared_weights.py) and
predict the same depth, bit for bit.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.enhancer import AuxView, AuxViewEnhancer
from nightrain.depthmodel.auxview.view import AuxImages
from nightrain.depthmodel.config import NETWORKS, DepthConfig, parse_config
from nightrain.depthmodel.decoders.base import (
    DepthRange,
    EncoderShape,
    Maps,
    make_decoder,
    resize,
)
from nightrain.depthmodel.network import model_folder
from nightrain.depthmodel.network.encoder import make_encoder, normalised
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.restoration.restoration import FeatureRestoration

MIN_SIDE_PIXELS = 32


class DepthPrediction(NamedTuple):
    """Prediction for a batch of images (B, 3, H, W)."""

    inverse_depth: torch.Tensor  # (B, 1, H, W) float32, 1/m
    features: Maps  # the decoder's input: four maps (B, C, h, w); the last is final-normed
    encoded: Maps  # the same before restoration

    @property
    def depth_m(self) -> torch.Tensor:
        """Depth (B, 1, H, W) in metres."""
        return 1.0 / self.inverse_depth


class DepthModel(nn.Module):
    """Depth network for single images; predicts inverse depth in 1/m.

    An untrained network predicts about `config.initial_depth_m` everywhere. `encoder_name` says
    which pretrained encoder was loaded ("random": none). Raises InvalidRequest where
    `config.encoder.pretrained` cannot be loaded or the decoder does not take `config.input_size`.
    """

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config.encoder)
        self.encoder_name: str = self.encoder.name
        self.frozen: tuple[str, ...] = ()
        shape = EncoderShape(self.encoder.channels, self.encoder.patch)
        depths = DepthRange(config.min_depth_m, config.max_depth_m, config.initial_depth_m)
        self.decoder = make_decoder(config.decoder, shape, depths)
        self.decoder.check_size((config.input_size[1], config.input_size[0]))
        if config.encoder.kind == "efficientnet":  # its maps are channels last; 17 % faster
            self.decoder.to(memory_format=torch.channels_last)
        self.restoration: FeatureRestoration | None = None
        if config.restoration is not None:
            width = self.decoder.packed_channels
            self.restoration = FeatureRestoration(width, config.restoration)
        self.auxview: AuxViewEnhancer | None = None
        if config.auxview is not None:
            self.auxview = AuxViewEnhancer(shape.low, config.auxview)

    def forward(
        self,
        image: torch.Tensor,
        aux: AuxImages | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> DepthPrediction:
        """Predict at the size of `image` (B, 3, H, W), RGB in [0, 1], not normalised.

        A network without an auxiliary view ignores `aux`. Restoration starts from noise drawn from
        `generator`; without a generator there is no noise, and the same image gives the same depth.
        For DINOv2, images are resized internally to the nearest multiples of its patch of 14
        pixels. Raises InvalidRequest for another shape or dtype, or for a view without the geometry
        that its alignment needs.
        """
        maps = self.enhanced(image, self.encode(image), aux)
        size = image.shape[2], image.shape[3]
        restored = self.restored(maps, size, generator=generator)[-1]
        return DepthPrediction(self.decode(restored, size), restored, maps)

    def encode(self, image: torch.Tensor) -> Maps:
        """Four feature maps (B, C_i, h_i, w_i) of an image (B, 3, H, W); raises InvalidRequest."""
        _check_image(image)
        return self.encoder(self._prepared(image))

    def enhanced(self, image: torch.Tensor, maps: Maps, aux: AuxImages | None) -> Maps:
        """Maps of an image, the finer two enhanced by the other view; unchanged without one."""
        if self.auxview is None or aux is None or not bool(aux.present.any()):
            return maps
        _check_image(aux.image)
        size = image.shape[2], image.shape[3]
        view = AuxView(
            features=self.encoder.low(self._prepared(aux.image)),
            present=aux.present,
            K=aux.K,
            K_aux=aux.K_aux,
            T_aux_camera=aux.T_aux_camera,
            inverse_depth=self._without_view(maps, size),
            images=(image if aux.reference is None else aux.reference, aux.image),
        )
        fine, coarse = self.auxview((maps[0], maps[1]), view, size)
        return fine, coarse, *maps[2:]

    @torch.no_grad()
    def _without_view(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m of the image alone, about which a sweep is centred."""
        return self.decode(self.restored(maps, size)[-1], size)

    def packed(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Features (B, C, h, w) that restoration restores; see `Decoder.packed`."""
        return self.decoder.packed(maps, size)

    def unpacked(self, packed: torch.Tensor, maps: Maps) -> Maps:
        """Maps for the decoder in which `packed` replaces the coarser part of `maps`."""
        return self.decoder.unpacked(packed, maps)

    def restored(
        self,
        maps: Maps,
        size: tuple[int, int],
        *,
        generator: torch.Generator | None = None,
    ) -> list[Maps]:
        """Maps for the decoder at every step of the restoration, the last step last."""
        if self.restoration is None:
            return [maps]
        estimates = self.restoration(self.packed(maps, size), generator=generator)
        return [self.unpacked(estimate, maps) for estimate in estimates]

    def decode(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m at `size` (H, W) from the maps of an image.

        Within the configured range, except for a strict decoder, which is not bounded.
        """
        return resize(self.decoder(maps, size), size)

    def freeze(self, parts: Iterable[str]) -> None:
        """Freeze modules by name ("encoder", "decoder.fusion.3"): no training, always eval mode.

        Gradients still pass through them. Raises InvalidRequest for a module that does not exist.
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
        """Set training or eval mode; frozen parts stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    @property
    def digest(self) -> str:
        """Digest of configuration and tensors: 16 hex digits, the same on every device.

        Reads all weights; keep the result where it is needed often.
        """
        return model_folder.digest(self.config.identity, self.state_dict())

    def save_pretrained(self, folder: str | Path, card: ModelCard) -> None:
        """Write config.json, model.safetensors and README.md, whole or not at all.

        Replaces a model saved there before. Raises InvalidRequest where the folder holds anything
        else, or where a weight is not finite.
        """
        config, encoder = self.config, self.encoder_name
        model_folder.save(
            Path(folder),
            config.without_pretrained().model_dump_json(indent=2),
            config.identity,
            self.state_dict(),
            notes={"encoder": encoder},
            card=lambda digest: card.markdown(config, digest, encoder),
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu"
    ) -> "DepthModel":
        """Load what `save_pretrained` wrote, in eval mode; keeps the random state.

        Raises InvalidRequest for another architecture, and for tensors that are missing, unknown,
        of another shape or not those that were saved.
        """
        folder = Path(folder)
        text = model_folder.read_config(folder)
        config = parse_config(text, str(folder / model_folder.CONFIG)).without_pretrained()
        with torch.random.fork_rng(devices=[]):  # the start is overwritten
            if not config.has_own_classes:  # those of other packages may need real tensors
                with torch.device("meta"):  # shapes without memory
                    model_folder.check(folder, cls(config).state_dict())
            model = make_model(config) if cls is DepthModel else cls(config)
        saved = model_folder.load(folder, config.identity, model.state_dict())
        model.load_state_dict(saved.tensors)
        model.encoder_name = saved.notes.get("encoder", "unknown")
        return model.to(device).eval()

    def _prepared(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise, and resize to the nearest size that the encoder's patch divides."""
        image, patch = normalised(image, self.config.normalisation), self.encoder.patch
        if patch is None:
            return image
        height, width = (max(1, round(side / patch)) * patch for side in image.shape[2:])
        return resize(image, (height, width))


def make_model(config: DepthConfig) -> DepthModel:
    """Construct the network of a configuration, built in or of another package.

    Raises InvalidRequest as `DepthModel`.
    """
    if not config.has_own_network:
        return DepthModel(config)
    return NETWORKS.load(config.network)(config, **config.network_options)


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
