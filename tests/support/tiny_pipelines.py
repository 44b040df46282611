"""Tiny random pipelines of the newer families, in the layout of diffusers, for the tests."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from nightrain.benchmarks.random_family import lively, tiny_vocabulary

torch.set_num_threads(1)  # networks this small gain nothing, and other tests are running

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
LETTERS = [chr(c) for c in range(33, 127)]
_kept: list[tempfile.TemporaryDirectory] = []


@functools.cache
def pipeline_folder(name: str) -> Path:
    """Folder of a tiny family, written once per process: base/ and, with one, controlnet/."""
    folder = tempfile.TemporaryDirectory(prefix="tiny-pipeline-")
    _kept.append(folder)
    root = Path(folder.name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = BUILDERS[name]()
        net = parts.pop("controlnet", None)
        write_parts(root / "base", BASES.get(name, name), parts)
    if net is not None:
        net.save_pretrained(root / "controlnet", safe_serialization=True)
    return root


def write_parts(folder: Path, pipeline: str, parts: dict[str, Any]) -> Path:
    """Write a pipeline's parts and its index; values that are no models go into the index."""
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.42.1"}
    for name, part in parts.items():
        if not hasattr(part, "save_pretrained"):
            index[name] = part
            continue
        library = type(part).__module__.partition(".")[0]
        index[name] = [library, type(part).__name__]
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def flux_control() -> dict[str, Any]:
    """FLUX.1-Depth: the control's latents are channels of the transformer's input."""
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=32,  # 2x2 patches of 4 channels, of noise and of the control
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return {
        **_clip("", CLIPTextModel),
        **_t5("_2"),
        "transformer": _random(transformer),
        "vae": _vae(4),
        "scheduler": _scheduler(),
    }


def flux2_klein() -> dict[str, Any]:
    """FLUX.2 klein: edits from a reference, distilled from guidance."""
    transformer = diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = diffusers.AutoencoderKLFlux2(**_VAE, latent_channels=4)
    return {
        "text_encoder": _random(Qwen3ForCausalLM(_qwen3())),
        "tokenizer": _qwen_tokenizer(),
        "transformer": _random(transformer),
        "vae": _random(vae),
        "scheduler": _scheduler(use_dynamic_shifting=True),
        "is_distilled": True,
    }


def sd3_control() -> dict[str, Any]:
    """Stable Diffusion 3.5 with its depth ControlNet."""
    shared: dict[str, Any] = {
        "sample_size": 32,
        "patch_size": 2,
        "in_channels": 4,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 32,
        "out_channels": 4,
        "qk_norm": "rms_norm",
        "pos_embed_max_size": 16,
    }
    return {
        **_clip("", CLIPTextModelWithProjection),
        **_clip("_2", CLIPTextModelWithProjection),
        **_t5("_3", width=32),
        "transformer": _random(diffusers.SD3Transformer2DModel(num_layers=2, **shared)),
        "controlnet": _random(diffusers.SD3ControlNetModel(num_layers=1, **shared)),
        "vae": _vae(4),
        "scheduler": _scheduler(),
    }


def qwen_control() -> dict[str, Any]:
    """Qwen-Image with a ControlNet."""
    shared: dict[str, Any] = {
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 4,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "axes_dims_rope": (8, 4, 4),
    }
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    text: dict[str, Any] = {
        **_TEXT,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config={**vision, "out_hidden_size": 16}, vocab_size=256
    )
    transformer = diffusers.QwenImageTransformer2DModel(num_layers=1, **shared)
    return {
        "text_encoder": _random(Qwen2_5_VLForConditionalGeneration(config)),
        "tokenizer": _qwen_tokenizer(),
        "transformer": _random(transformer),
        "controlnet": _random(diffusers.QwenImageControlNetModel(num_layers=1, **shared)),
        "vae": _random(vae),
        "scheduler": _scheduler(),
    }


def z_image(**more: Any) -> dict[str, Any]:
    """Z-Image, without a control."""
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[512, 32, 32],
    )
    return {
        "text_encoder": _random(Qwen3Model(_qwen3())),
        "tokenizer": _qwen_tokenizer(),
        "transformer": _random(transformer),
        "vae": _vae(4),
        "scheduler": _scheduler(),
        **more,
    }


def z_image_control() -> dict[str, Any]:
    """Z-Image with its ControlNet."""
    net = diffusers.ZImageControlNetModel(
        control_layers_places=[0, 1],
        control_refiner_layers_places=[0],
        control_in_dim=4,
        add_control_noise_refiner="control_noise_refiner",
        dim=32,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
    )
    return z_image(controlnet=_random(net))


BUILDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "FluxControlPipeline": flux_control,
    "Flux2KleinPipeline": flux2_klein,
    "StableDiffusion3ControlNetPipeline": sd3_control,
    "QwenImageControlNetPipeline": qwen_control,
    "ZImageControlNetPipeline": z_image_control,
    "ZImageImg2ImgPipeline": z_image,
}
BASES = {  # the class that the base model's index names, where it is another one
    "StableDiffusion3ControlNetPipeline": "StableDiffusion3Pipeline",
    "QwenImageControlNetPipeline": "QwenImagePipeline",
    "ZImageControlNetPipeline": "ZImagePipeline",
    "ZImageImg2ImgPipeline": "ZImagePipeline",
}
_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (4, 4, 4, 4),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "sample_size": 64,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def _random(model: Any) -> Any:
    """Weights of unit gain, and random values for every parameter that starts empty or zero."""
    lively(model)
    linear = {
        id(p)
        for m in model.modules()
        if isinstance(m, nn.Linear | nn.Conv2d)
        for p in m.parameters()
    }
    for parameter in model.parameters():
        if id(parameter) not in linear and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.5)
    return model


def _vae(channels: int) -> Any:
    vae = diffusers.AutoencoderKL(
        **_VAE, latent_channels=channels, shift_factor=0.0609, scaling_factor=1.5035
    )
    return _random(vae)


def _scheduler(**more: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**more)


def _clip(suffix: str, kind: Any) -> dict[str, Any]:
    vocabulary, merges = tiny_vocabulary()
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1}
    config = CLIPTextConfig(**_TEXT, **ends, vocab_size=len(vocabulary), projection_dim=16)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)  # type: ignore
    return {f"text_encoder{suffix}": _random(kind(config)), f"tokenizer{suffix}": tokenizer}


def _t5(suffix: str, width: int = 16) -> dict[str, Any]:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5Tokenizer(vocab=[*pieces, *((c, -3.0) for c in LETTERS)], extra_ids=0)
    config = T5Config(vocab_size=256, d_model=width, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
    return {
        f"text_encoder{suffix}": _random(T5EncoderModel(config)),
        f"tokenizer{suffix}": tokenizer,
    }


def _qwen3() -> Qwen3Config:
    return Qwen3Config(**_TEXT, num_key_value_heads=2, head_dim=8, vocab_size=256)


def _qwen_tokenizer() -> Qwen2Tokenizer:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = [*LETTERS, "Ġ", "Ċ", *special]  # byte-level names of space and newline
    tokenizer = Qwen2Tokenizer(
        vocab={letter: number for number, letter in enumerate(letters)},
        merges=[],
        additional_special_tokens=special[1:],
    )
    tokenizer.chat_template = CHAT
    return tokenizer
