"""Architectures of the diffusion model families SD1.5 and SDXL, at full size and tiny.

The full-size values are those of the config.json files of stable-diffusion-v1-5,
stable-diffusion-xl-base-1.0, control_v11f1p_sd15_depth and h94/IP-Adapter.
"""

from dataclasses import dataclass, replace
from typing import Any

Config = dict[str, Any]

SCHEDULER: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Constructor arguments of every model of a family."""

    pipeline: str  # class name in model_index.json
    unet: Config
    vae: Config
    text_encoder: Config
    image_encoder: Config
    condition_channels: tuple[int, ...] = (16, 32, 96, 256)  # of a ControlNet's first layers
    text_encoder_2: Config | None = None  # SDXL
    union: Config | None = None  # extra arguments of a ControlNetUnionModel
    safety_checker: Config | None = None  # of a CLIPConfig
    ip_tokens: int = 4
    feature_size: int = 224  # side of the image encoder's input, pixels


SD15 = Architecture(
    pipeline="StableDiffusionPipeline",
    unet={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
    },
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 1,
    },
    image_encoder={  # CLIP ViT-H/14
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "projection_dim": 1024,
        "hidden_act": "gelu",
    },
)

_TINY_VISION: Config = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 16,
    "projection_dim": 16,
}
_TINY_TEXT: Config = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 16,
    "hidden_act": "quick_gelu",
}

TINY_SD15 = Architecture(
    pipeline="StableDiffusionPipeline",
    unet={
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    vae={
        "block_out_channels": (4, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
    },
    text_encoder=_TINY_TEXT,
    image_encoder=_TINY_VISION,
    safety_checker={
        "vision_config": _TINY_VISION,
        "text_config": _TINY_TEXT,
        "projection_dim": 16,
    },
    condition_channels=(4, 8, 8, 8),
    feature_size=16,
)

TINY_SDXL = replace(
    TINY_SD15,
    pipeline="StableDiffusionXLPipeline",
    unet={
        **TINY_SD15.unet,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2),
        "use_linear_projection": True,
        "cross_attention_dim": 16 + 24,  # outputs of both text encoders, concatenated
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24 + 6 * 8,  # pooled text, six sizes
    },
    # Loaders of single files tell the text encoders apart by their widths
    text_encoder_2={**_TINY_TEXT, "hidden_size": 24, "projection_dim": 24},
    union={"num_trans_channel": 8, "num_proj_channel": 8},
)
