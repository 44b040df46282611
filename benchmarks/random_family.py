"""Random families: randomly initialised diffusion models in the standard folder layout.

Tests and benchmarks load them like downloaded weights of the same architecture.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from nightrain.benchmarks.architectures import (
    SCHEDULER,
    TINY_SD15,
    TINY_SDXL,
    Architecture,
    Config,
)
from nightrain.pipelines.engines.model_loading import quiet_libraries

IP_ADAPTER_FILE = "ip-adapter.safetensors"
_SIDES = ("encoder", "decoder")
START, END = "<|startoftext|>", "<|endoftext|>"


def write_tiny_family(folder: Path, family: str = "sd15", seed: int = 0) -> Path:
    """Write a family of a few thousand weights, in about a second; return the folder.

    `folder` then holds base/, controlnet-depth/, controlnet-canny/ (or controlnet-union/ for
    "sdxl-union") and ip-adapter/ with its image_encoder/.
    """
    architecture = TINY_SD15 if family in ("sd15", "sd21") else TINY_SDXL
    return write_random_family(folder, architecture, seed=seed, union=family == "sdxl-union")


@quiet_libraries()
def write_random_family(
    folder: Path,
    architecture: Architecture,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vocabulary: tuple[dict[str, int], list[tuple[str, str]]] | None = None,
    controls: Sequence[str] = ("depth", "canny"),
    union: bool = False,
    ip_adapter: bool = True,
) -> Path:
    """Write every model of an architecture with random weights from `seed`; return the folder."""
    vocabulary = vocabulary or tiny_vocabulary()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = _write_base(folder / "base", architecture, dtype, vocabulary)
        if union:
            net = _union(architecture, unet)
            _save(net, folder / "controlnet-union", dtype)
        for control in () if union else controls:
            _save(_controlnet(architecture, unet), folder / f"controlnet-{control}", dtype)
        if ip_adapter:
            _write_ip_adapter(folder / "ip-adapter", architecture, unet, dtype)
    return folder


def write_tiny_decoder(folder: Path, *, width: int = 64, seed: int = 0, dtype: torch.dtype) -> None:
    """Write an autoencoder of TAESD's architecture with random weights from `seed`."""
    widths: dict[str, Any] = {f"{side}_block_out_channels": (width,) * 4 for side in _SIDES}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = lively(AutoencoderTiny(**widths))
    # Ends between 0 and 1, as of trained weights: the engine rejects black images.
    nn.init.constant_(model.decoder.layers[-1].bias, 0.5)
    model.decoder.layers[-1].weight.data *= 0.1
    _save(model, folder, dtype)


def tiny_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level CLIP vocabulary with a few merges: (token to id, merges)."""
    letters = [chr(c) for c in range(33, 127)]
    merges = [("n", "i"), ("t", "h"), ("r", "a"), ("ra", "i"), ("rai", "n</w>"), ("a", "t</w>")]
    tokens = [*letters, *(f"{c}</w>" for c in letters), *(a + b for a, b in merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def _write_base(
    folder: Path,
    architecture: Architecture,
    dtype: torch.dtype,
    vocabulary: tuple[dict[str, int], list[tuple[str, str]]],
) -> UNet2DConditionModel:
    index: dict[str, Any] = {
        "_class_name": architecture.pipeline,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
    }
    _write_text_encoder(folder, architecture.text_encoder, "", CLIPTextModel, dtype, vocabulary)
    if architecture.text_encoder_2 is None:
        index |= _write_safety_checker(folder, architecture, dtype)
    else:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "force_zeros_for_empty_prompt": True,
        }
        second = CLIPTextModelWithProjection
        config = architecture.text_encoder_2
        _write_text_encoder(folder, config, "_2", second, dtype, vocabulary)
    _save(lively(AutoencoderKL(**architecture.vae)), folder / "vae", dtype)
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    side = architecture.feature_size
    CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(folder / "feature_extractor")
    unet = lively(UNet2DConditionModel(**architecture.unet))
    _save(unet, folder / "unet", dtype)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return unet


def _write_safety_checker(folder: Path, architecture: Architecture, dtype: torch.dtype) -> Config:
    if architecture.safety_checker is None:
        return {"safety_checker": [None, None], "requires_safety_checker": False}
    checker = StableDiffusionSafetyChecker(CLIPConfig(**architecture.safety_checker))
    _save(lively(checker), folder / "safety_checker", dtype)
    kind = "StableDiffusionSafetyChecker"
    return {"safety_checker": ["stable_diffusion", kind], "requires_safety_checker": True}


def _write_text_encoder(
    folder: Path,
    config: Config,
    suffix: str,
    model: Callable[[CLIPTextConfig], nn.Module],
    dtype: torch.dtype,
    vocabulary: tuple[dict[str, int], list[tuple[str, str]]],
) -> None:
    vocab, merges = vocabulary
    tokens: Config = {
        "bos_token_id": vocab[START],
        "eos_token_id": vocab[END],
        "vocab_size": len(vocab),
    }
    _save(
        lively(model(CLIPTextConfig(**(tokens | config)))), folder / f"text_encoder{suffix}", dtype
    )
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)  # type: ignore
    tokenizer.save_pretrained(folder / f"tokenizer{suffix}")
    # Real checkpoints also have these files, next to the tokenizer.json that transformers writes.
    (folder / f"tokenizer{suffix}" / "vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / f"tokenizer{suffix}" / "merges.txt").write_text("\n".join(lines) + "\n")


def _controlnet(architecture: Architecture, unet: UNet2DConditionModel) -> ControlNetModel:
    return lively(
        ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=architecture.condition_channels
        )
    )


def _union(architecture: Architecture, unet: UNet2DConditionModel) -> ControlNetUnionModel:
    shared = {
        name: value
        for name, value in unet.config.items()
        if name in ControlNetUnionModel._get_init_keys(ControlNetUnionModel)
    }
    shared |= architecture.union or {}
    return lively(
        ControlNetUnionModel(
            **shared, conditioning_embedding_out_channels=architecture.condition_channels
        )
    )


def lively(model: Any) -> Any:
    """Initialise weights that preserve the signal's scale, so that every input changes the image.

    With torch's defaults the signal fades from layer to layer, and a new ControlNet outputs zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if hasattr(model, "controlnet_cond_embedding"):
        model.controlnet_cond_embedding.conv_out.weight.data *= 10  # to the scale of the latents
    return model


def _write_ip_adapter(
    folder: Path, architecture: Architecture, unet: UNet2DConditionModel, dtype: torch.dtype
) -> None:
    """Write the adapter in the key layout of h94/IP-Adapter, with its image encoder."""
    config = CLIPVisionConfig(**architecture.image_encoder)
    _save(lively(CLIPVisionModelWithProjection(config)), folder / "image_encoder", dtype)
    width = unet.config["cross_attention_dim"]
    tokens = architecture.ip_tokens
    weights = {
        "image_proj.proj.weight": torch.randn(tokens * width, config.projection_dim),
        "image_proj.proj.bias": torch.zeros(tokens * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    crossed = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossed):  # keys are 1, 3, 5: text and image attention alternate
        attention: Any = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("to_k_ip", "to_v_ip"):
            key = f"ip_adapter.{2 * number + 1}.{part}.weight"
            weights[key] = torch.randn(attention.to_k.weight.shape) * width**-0.5
    save_file(
        {name: value.to(dtype).contiguous() for name, value in weights.items()},
        folder / IP_ADAPTER_FILE,
    )


def _save(model: Any, folder: Path, dtype: torch.dtype) -> None:
    nn.Module.to(model, dtype)
    model.save_pretrained(folder, safe_serialization=True)
