"""Swin weights under timm's names, for the Swin of transformers.

timm joins query, key and value in one matrix and counts a stage's downsampling with the stage after
it. The hub's timm models hold safetensors where those of the original authors hold pickles.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object

WEIGHTS = "model.safetensors"
BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)")
DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")
OF_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "attn": "attention.relative_position_bias",  # its table
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
OF_STEM = {
    "patch_embed.proj": "swin.embeddings.patch_embeddings.projection",
    "patch_embed.norm": "swin.embeddings.norm",
    "norm": "swin.layernorm",
}
NOT_USED = ("head.", "relative_position_index", "attn_mask")


def timm_architecture(folder: Path) -> str:
    """Architecture that a folder of timm names in its config.json; "" for other folders."""
    config = read_object(folder / "config.json", "the configuration of a model")
    return "" if "model_type" in config else str(config.get("architecture", ""))


def load_timm_swin(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a timm Swin under the names of transformers; raises InvalidRequest."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise InvalidRequest(f"{folder} has no {WEIGHTS}. Use a copy of the model that has it.")
    return swin_tensors(load_file(path))


def swin_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename timm's tensors of a Swin; raises InvalidRequest for a name that a Swin lacks."""
    return {
        new: tensor
        for name, value in tensors.items()
        if not name.startswith(NOT_USED) and not name.endswith(NOT_USED)
        for new, tensor in _renamed(name, value)
    }


def _renamed(name: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    module, _, kind = name.rpartition(".")
    if module in OF_STEM:
        yield f"{OF_STEM[module]}.{kind}", value
    elif found := DOWNSAMPLE.fullmatch(name):
        yield f"swin.encoder.layers.{int(found[1]) - 1}.downsample.{found[2]}", value
    elif found := BLOCK.fullmatch(name):
        block = f"swin.encoder.layers.{found[1]}.blocks.{found[2]}"
        part, _, kind = found[3].rpartition(".")
        if part == "attn.qkv":
            for which, third in zip("qkv", value.chunk(3), strict=True):
                yield f"{block}.attention.{which}_proj.{kind}", third.contiguous()
        elif part in OF_BLOCK:
            yield f"{block}.{OF_BLOCK[part]}.{kind}", value
        else:
            raise _unknown(name)
    else:
        raise _unknown(name)


def _unknown(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"found the tensor {name}, which is not of a Swin of timm: give the weights of a Swin of "
        "timm 0.9 or later."
    )
