"""Folder of the family: diffusers' layout, loaded by `from_pretrained` without this package.

FOLDER/base/                 model_index.json, vae, unet, text_encoder, tokenizer, scheduler
FOLDER/controlnet-depth/
FOLDER/ip-adapter/           ip-adapter.safetensors and image_encoder/
"""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.small_diffusion.networks.architecture import new_scheduler
from nightrain.pipelines.small_diffusion.stages.style import image_processor

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}
NETWORKS = ("base/model_index.json", "controlnet-depth/config.json")
ADAPTER = ("ip-adapter/ip-adapter.safetensors", "ip-adapter/image_encoder/config.json")
ORIGIN = ("_name_or_path", "is_local", "local_files_only")


def require_family(folder: Path, *, adapter: bool) -> None:
    """Raise InvalidRequest if a folder lacks a part of the family; `adapter`: the adapter, too."""
    for name in NETWORKS:
        if not (folder / name).is_file():
            raise InvalidRequest(f"{folder} is not a family folder: {name} is missing.")
    if adapter and not has_adapter(folder):
        raise InvalidRequest(
            f"{folder} has no IP-Adapter ({', '.join(ADAPTER)}). Train one with the stage `style`."
        )


def has_adapter(folder: Path) -> bool:
    """Whether a family has an IP-Adapter and its image encoder."""
    return all((folder / name).is_file() for name in ADAPTER)


def write_base(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write the base model in half precision; the UNet must have no adapter."""
    base = folder / "base"
    for name, net in {"vae": vae, "unet": unet, "text_encoder": text_encoder}.items():
        _save(net, base / name)
    tokenizer.save_pretrained(base / "tokenizer")
    _forget_origin(base / "tokenizer/tokenizer_config.json")
    new_scheduler().save_pretrained(base / "scheduler")
    image_processor().save_pretrained(base / "feature_extractor")
    write_whole(base / "model_index.json", json.dumps(INDEX, indent=2))


def write_controlnet(folder: Path, controlnet: ControlNetModel) -> None:
    """Write the depth ControlNet in half precision."""
    _save(controlnet, folder / "controlnet-depth")


def write_adapter(
    folder: Path,
    weights: dict[str, torch.Tensor],
    image_encoder: CLIPVisionModelWithProjection,
) -> None:
    """Write the IP-Adapter and its image encoder in half precision."""
    _save(image_encoder, folder / "ip-adapter" / "image_encoder")
    halves = {name: tensor.half() for name, tensor in weights.items()}
    save_file(halves, folder / "ip-adapter" / "ip-adapter.safetensors")


def copy_adapter(source: Path, folder: Path) -> None:
    """Replace the IP-Adapter of a family by that of another one, or of itself."""
    if source.resolve() == folder.resolve():
        return
    shutil.rmtree(folder / "ip-adapter", ignore_errors=True)
    shutil.copytree(source / "ip-adapter", folder / "ip-adapter")


def _save(net: nn.Module, folder: Path) -> None:
    half: Any = copy.deepcopy(net).cpu().half()
    half.save_pretrained(folder, safe_serialization=True)
    _forget_origin(folder / "config.json")


def _forget_origin(path: Path) -> None:
    """Remove from a configuration where on this machine its network was loaded from."""
    config = json.loads(path.read_text())
    kept = {name: value for name, value in config.items() if name not in ORIGIN}
    write_whole(path, json.dumps(kept, indent=2, sort_keys=True) + "\n")
