"""Embeddings of prompts, style images and control images, computed once and cached.

A prompt is encoded once per text, a style image once per style and a control image once per sample,
because none of them changes over the steps.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from diffusers.models.embeddings import ImageProjection
from PIL import Image

from nightrain.pipelines.engines.diffusion.models.loading import Models

KEPT = 512  # prompts and style images: 60 MB of SD1.5 embeddings in half precision

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text:
    """Embedding of a prompt."""

    tokens: torch.Tensor  # (T, C)
    pooled: torch.Tensor | None  # (P,), SDXL


@dataclass(frozen=True, slots=True)
class Style:
    """Embeddings of a style image and of the empty image that guidance needs."""

    positive: tuple[torch.Tensor, ...]  # each (1, D), one per IP-Adapter
    negative: tuple[torch.Tensor, ...]  # each (1, D), one per IP-Adapter


class Latest(Generic[T]):
    """Cache of the `size` latest results of a computation, by key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of a key, from the cache if possible."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        result = self._kept[key] = compute()
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return result


class Conditioner:
    """Embeds prompts, style images and control images on the models' device."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._texts: Latest[Text] = Latest(KEPT)
        self._styles: Latest[Style] = Latest(KEPT)

    def text(self, prompt: str) -> Text:
        """Embed a prompt; CLIP reads at most 77 tokens."""
        return self._texts.get((prompt, self._models.dtype), lambda: self._encode_text(prompt))

    def negative(self, prompt: str | None) -> Text:
        """Embed a negative prompt; without one (None), SDXL takes zeros, as in diffusers."""
        text = self.text(prompt or "")
        if prompt is not None or not self._models.pipe.config.get(
            "force_zeros_for_empty_prompt", False
        ):
            return text
        pooled = None if text.pooled is None else torch.zeros_like(text.pooled)
        return Text(torch.zeros_like(text.tokens), pooled)

    def style(self, style_id: str, read: Callable[[], np.ndarray]) -> Style:
        """Embed the style image of a name; `read` loads it as (H, W, 3) uint8."""
        return self._styles.get((style_id, self._models.dtype), lambda: self._encode_style(read()))

    def control(self, number: int, image: np.ndarray) -> torch.Tensor:
        """Embed control image `number` (H, W, 3) uint8 to (C, H/8, W/8)."""
        embedders = self._models.condition_embedders
        embedder = embedders[min(number, len(embedders) - 1)]  # a union has one for all
        # One at a time, so that its bytes do not depend on other images of the batch.
        return embedder(self.pixels(image)[None].to(self._models.dtype))[0]

    def pixels(self, image: np.ndarray) -> torch.Tensor:
        """Convert an image (H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
        values = torch.from_numpy(np.ascontiguousarray(image)).to(self._models.device)
        return values.permute(2, 0, 1).float() / 255

    def image_latents(self, image: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """Encode an image (H, W, 3) uint8 to scaled latents (4, H/8, W/8) in float32."""
        vae = self._models.pipe.vae
        pixels = (2 * self.pixels(image) - 1).to(vae.dtype)  # rounded once
        latents = vae.encode(pixels[None]).latent_dist.sample(generator)[0]
        return latents.float() * vae.config.scaling_factor

    def _encode_text(self, prompt: str) -> Text:
        pipe = self._models.pipe
        embeds = pipe.encode_prompt(
            prompt=prompt,
            device=self._models.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        pooled = embeds[2][0] if len(embeds) == 4 else None
        return Text(embeds[0][0].to(self._models.dtype), pooled)

    def _encode_style(self, image: np.ndarray) -> Style:
        pipe = self._models.pipe
        pairs = [
            pipe.encode_image(
                Image.fromarray(image),
                self._models.device,
                1,
                output_hidden_states=not isinstance(projection, ImageProjection),
            )
            for projection in pipe.unet.encoder_hid_proj.image_projection_layers
        ]
        return Style(tuple(p for p, _ in pairs), tuple(n for _, n in pairs))
