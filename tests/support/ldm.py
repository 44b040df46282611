"""Tensors under the names of the original latent-diffusion code."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def original_vae(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a tiny VAE (four blocks of one layer) under the names of the original code."""
    names = {
        "mid_block.resnets.0": "mid.block_1",
        "mid_block.resnets.1": "mid.block_2",
        "mid_block.attentions.0": "mid.attn_1",
        "downsamplers.0": "downsample",
        "upsamplers.0": "upsample",
        "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
        "resnets": "block",
        **{f"down_blocks.{n}": f"down.{n}" for n in range(4)},
        **{f"up_blocks.{n}": f"up.{3 - n}" for n in range(4)},
    }
    tensors = {}
    for key, value in load_file(folder / "diffusion_pytorch_model.safetensors").items():
        is_attention = "attentions" in key and value.dim() == 2
        for ours, original in names.items():
            key = key.replace(ours, original)
        tensors[key] = value[:, :, None, None] if is_attention else value
    return tensors
