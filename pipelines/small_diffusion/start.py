"""Start of a training: new networks, or those of a family folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from nightrain.pipelines.small_diffusion.networks import architecture as small

FULL = torch.float32


@dataclass(frozen=True, slots=True)
class Start:
    """Networks that a training starts from; `folder` None means new ones."""

    folder: Path | None

    def vae(self) -> AutoencoderKL:
        """Autoencoder."""
        if self.folder is None:
            return small.new_autoencoder()
        return AutoencoderKL.from_pretrained(self.folder / "base/vae", dtype=FULL)

    def tokenizer(self, prompts: Iterable[str]) -> CLIPTokenizer:
        """Tokenizer, learned from the prompts if it is new."""
        if self.folder is None:
            return small.new_tokenizer(prompts)
        return CLIPTokenizer.from_pretrained(self.folder / "base/tokenizer")

    def text_encoder(self, tokenizer: CLIPTokenizer) -> CLIPTextModel:
        """Text encoder of a tokenizer."""
        if self.folder is None:
            return small.new_text_encoder(tokenizer)
        return CLIPTextModel.from_pretrained(self.folder / "base/text_encoder", dtype=FULL)

    def unet(self) -> UNet2DConditionModel:
        """Denoising UNet."""
        if self.folder is None:
            return small.new_unet()
        return UNet2DConditionModel.from_pretrained(self.folder / "base/unet", dtype=FULL)

    def controlnet(self, unet: UNet2DConditionModel) -> ControlNetModel:
        """ControlNet; a new one starts as a copy of the UNet's encoder."""
        if self.folder is None:
            return small.new_controlnet(unet)
        return ControlNetModel.from_pretrained(self.folder / "controlnet-depth", dtype=FULL)
