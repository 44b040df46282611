"""LoRAs: added to the weights of the networks on loading, so they cost nothing per step.

W' = W + scale * (alpha / rank) * up @ down (arXiv 2106.09685). It needs no package beyond
safetensors. Supported key names: kohya's `lora_unet_a_b.lora_down.weight` (LCM-LoRA, Hyper-SD),
with the names of diffusers or of the original UNet (SDXL), `lora_te_`, `lora_te1_` and `lora_te2_`
for the text encoders, and diffusers' `unet.a.b.lora_A.weight` or `unet.a.b.lora.down.weight`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.diffusion.models.ldm_names import ldm_unet_name

Tensors = dict[str, torch.Tensor]
# Prefixes of keys, per network: kohya's, then diffusers'
PREFIXES = {
    "unet": ("lora_unet", "unet"),
    "text_encoder": ("lora_te1", "lora_te", "text_encoder"),
    "text_encoder_2": ("lora_te2", "text_encoder_2"),
}


def add_lora(networks: dict[str, Any], file: Path, scale: float) -> int:
    """Add a LoRA file to a UNet and its text encoders; returns how many layers changed.

    `networks` are by the part's name: "unet", "text_encoder", "text_encoder_2". Raises
    InvalidRequest if keys of the file fit no layer of these networks.
    """
    tensors = load_file(file)
    num_changed = 0
    for part, network in networks.items():
        for name, layer in network.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            found = _take(tensors, _prefixed(part, name, network))
            if found is not None:
                _add(layer, *found, scale, f"{file.name}: {part}.{name}")
                num_changed += 1
    if tensors or not num_changed:
        example = next(iter(tensors), "nothing")
        raise InvalidRequest(
            f"{file.name} is not a LoRA of this base model: {num_changed} layers fit, "
            f"{len(tensors)} keys fit none, such as {example!r}. Use a LoRA of this base model."
        )
    return num_changed


def _prefixed(part: str, name: str, network: Any) -> Iterator[str]:
    """Keys, without their endings, by which a file may call a layer."""
    for prefix in PREFIXES[part]:
        for alias in _aliases(part, name, network):
            by_kohya = prefix.startswith("lora_")
            yield f"{prefix}_{alias.replace('.', '_')}" if by_kohya else f"{prefix}.{alias}"


def _aliases(part: str, name: str, network: Any) -> Iterator[str]:
    yield name
    if part == "unet":
        block = name.split(".samplers")[0].rsplit(".upsamplers", 1)[0]
        has_attention = hasattr(network.get_submodule(block), "attentions")
        yield ldm_unet_name(name, network.config.layers_per_block, has_attention)
    elif not name.startswith("text_model."):  # transformers 5 dropped this level
        yield f"text_model.{name}"
    else:
        yield name.removeprefix("text_model.")


def _take(tensors: Tensors, keys: Iterator[str]) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """Remove and return a layer's (down, up, alpha / rank) from the file's tensors."""
    for key in keys:
        for down, up in (
            ("lora_down.weight", "lora_up.weight"),
            ("lora_A.weight", "lora_B.weight"),
            ("lora.down.weight", "lora.up.weight"),
        ):
            if f"{key}.{down}" in tensors and f"{key}.{up}" in tensors:
                first, alpha = tensors.pop(f"{key}.{down}"), tensors.pop(f"{key}.alpha", None)
                strength = float(len(first)) if alpha is None else float(alpha)
                return first, tensors.pop(f"{key}.{up}"), strength / len(first)
    return None


def _add(
    layer: nn.Linear | nn.Conv2d,
    down: torch.Tensor,
    up: torch.Tensor,
    share: float,
    scale: float,
    where: str,
) -> None:
    change = up.flatten(1).double() @ down.flatten(1).double()  # (out, rank) @ (rank, in * k * k)
    weight = layer.weight
    if change.numel() != weight.numel() or up.shape[0] != weight.shape[0]:
        raise InvalidRequest(
            f"{where}: the LoRA gives {tuple(change.shape)}, the layer has {tuple(weight.shape)}. "
            "Use a LoRA of this base model."
        )
    with torch.no_grad():
        weight += (scale * share * change).reshape(weight.shape).to(weight)
