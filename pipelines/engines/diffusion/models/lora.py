"""LoRA: added to the weights of a UNet on loading, so it costs nothing per step.

W' = W + scale * (alpha / rank) * up @ down (arXiv 2106.09685). It needs no package beyond
safetensors. Supported key names: kohya's `lora_unet_a_b.lora_down.weight` (LCM-LoRA, Hyper-SD) and
diffusers' `unet.a.b.lora_A.weight` or `unet.a.b.lora.down.weight`.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from nightrain.datasets.errors import InvalidRequest

Tensors = dict[str, torch.Tensor]


def add_lora(unet: nn.Module, file: Path, scale: float) -> int:
    """Add a LoRA file to a UNet; returns how many layers changed.

    Raises InvalidRequest if keys of the file fit no layer of this UNet.
    """
    tensors = load_file(file)
    num_changed = 0
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            found = _take(tensors, name)
            if found is not None:
                _add(layer, *found, scale, f"{file.name}: {name}")
                num_changed += 1
    if tensors or not num_changed:
        example = next(iter(tensors), "nothing")
        raise InvalidRequest(
            f"{file.name} is not a LoRA of this UNet: {num_changed} layers fit, "
            f"{len(tensors)} keys fit none, such as {example!r}. Use a LoRA of this base model."
        )
    return num_changed


def _take(tensors: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """Remove and return a layer's (down, up, alpha / rank) from the file's tensors."""
    kohya = f"lora_unet_{name.replace('.', '_')}"
    for down, up, alpha in (
        (f"{kohya}.lora_down.weight", f"{kohya}.lora_up.weight", f"{kohya}.alpha"),
        (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight", f"unet.{name}.alpha"),
        (f"unet.{name}.lora.down.weight", f"unet.{name}.lora.up.weight", f"unet.{name}.alpha"),
    ):
        if down in tensors and up in tensors:
            first = tensors.pop(down)
            strength = float(tensors.pop(alpha)) if alpha in tensors else float(len(first))
            return first, tensors.pop(up), strength / len(first)
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
