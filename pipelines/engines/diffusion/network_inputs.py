"""Network inputs: samples, and the batch rows that the networks take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nightrain.pipelines.engines.diffusion.embeddings import Style, Text
from nightrain.pipelines.engines.diffusion.steps import Steps
from nightrain.pipelines.engines.diffusion.transfer import to_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """Networks of the denoising loop: plain modules, or compiled ones."""

    unet: Callable[..., Any]  # a HookedNetwork if features are cached
    controlnets: tuple[Callable[..., Any], ...]
    union_modes: tuple[int, ...] | None  # one mode per control; None: one network per control
    num_union_modes: int
    size_ids: bool  # SDXL takes the image's size as an input
    vae_factor: int  # pixels per latent
    dtype: torch.dtype
    memory_format: torch.memory_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Inputs of one image, ready to be denoised."""

    steps: Steps
    text: Text
    negative: Text
    style: Style | None
    style_id: str = ""
    controls: tuple[torch.Tensor, ...]  # each (C, h, w)
    start: torch.Tensor  # (4, h, w) float32
    noises: dict[int, torch.Tensor] = field(default_factory=dict)  # step: (4, h, w) float32


@dataclass(frozen=True, slots=True)
class Rows:
    """Batch of B samples as R = B rows, or as R = 2 B rows with the negative half first."""

    tokens: torch.Tensor  # (R, T, C)
    added: dict[str, torch.Tensor]  # SDXL: pooled text and sizes
    style: tuple[torch.Tensor, ...]  # each (R, 1, D)
    controls: tuple[torch.Tensor, ...]  # each (R, C, h, w)
    per_sample: int  # R / B


def make_rows(networks: Networks, samples: Sequence[Sample], *, guided: bool) -> Rows:
    """Stack samples to B rows, or to 2 B if guidance needs the negative half."""
    texts = [s.text for s in samples]
    styles = [s.style.positive for s in samples if s.style]
    if guided:
        texts = [s.negative for s in samples] + texts
        styles = [s.style.negative for s in samples if s.style] + styles
    repeats = 2 if guided else 1
    controls = (torch.stack(images) for images in zip(*(s.controls for s in samples), strict=True))
    return Rows(
        tokens=torch.stack([t.tokens for t in texts]),
        added=_added(networks, texts, samples[0].start.shape) if networks.size_ids else {},
        style=tuple(torch.stack(rows) for rows in zip(*styles, strict=True)),
        controls=tuple(
            torch.cat([images] * repeats).contiguous(memory_format=networks.memory_format)
            for images in controls
        ),
        per_sample=repeats,
    )


def _added(networks: Networks, texts: Sequence[Text], shape: torch.Size) -> dict[str, torch.Tensor]:
    """Further inputs of SDXL: pooled text (R, P); original size, crop and target size (R, 6)."""
    size = [networks.vae_factor * side for side in shape[-2:]]
    pooled = torch.stack([t.pooled for t in texts if t.pooled is not None])
    ids = to_device(torch.tensor([*size, 0, 0, *size], dtype=networks.dtype), pooled.device)
    return {"text_embeds": pooled, "time_ids": ids.expand(len(texts), 6).contiguous()}
