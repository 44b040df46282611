"""Architecture of the small family: ordinary diffusers and transformers classes.

The layout is that of Stable Diffusion 1.5, with 16 latent channels as later families have. An image
of 224x128 has latents of 28x16.
"""

import json
from collections.abc import Iterable
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

Config = dict[str, Any]
LATENT_CHANNELS = 16
TEXT_WIDTH = 128
IP_TOKENS = 4
STYLE_SIDE = 64  # of the image encoder's square input, pixels
CONTROL_CHANNELS = (8, 16, 32, 64)
START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77
VOCABULARY = 1024


def new_autoencoder() -> AutoencoderKL:
    """Autoencoder with a factor of 8 and 16 latent channels, 3.3 M weights."""
    config: Config = {
        "latent_channels": LATENT_CHANNELS,
        "block_out_channels": (32, 64, 96, 128),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "norm_num_groups": 16,
        "sample_size": 224,
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,  # the latents are normalised by the weights, see `normalise_latents`
    }
    return AutoencoderKL(**config)


def new_unet() -> UNet2DConditionModel:
    """Denoising UNet of three levels: 28x16, 14x8 and 7x4 for an image of 224x128."""
    config: Config = {
        "sample_size": (16, 28),
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": (96, 128, 192),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": (3, 4, 6),
        "norm_num_groups": 32,
    }
    return UNet2DConditionModel(**config)


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """ControlNet that starts as a copy of the UNet's encoder."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CONTROL_CHANNELS)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP text encoder of four layers."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    special: Config = {name: getattr(tokenizer, name) for name in names}
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            **special,
        )
    )


def new_image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP image encoder of style images, 64x64 pixels."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=STYLE_SIDE,
            patch_size=8,
        )
    )


def new_scheduler() -> DDIMScheduler:
    """Noise schedule of DDPM (Ho et al. 2020) with v-prediction (Salimans and Ho 2022).

    Its last step is almost pure noise, so the mean brightness of a night is not given away.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


def new_tokenizer(prompts: Iterable[str]) -> CLIPTokenizer:
    """Byte-pair tokenizer in CLIP's format with the prompts' own words; it reads any text."""
    merges = _learned_merges(prompts)
    tokens = dict.fromkeys([*_alphabet(), *(a + b for a, b in merges), START, END])
    return _clip_tokenizer({token: number for number, token in enumerate(tokens)}, merges)


def _alphabet() -> list[str]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*letters, *(f"{letter}</w>" for letter in letters)]


def _clip_tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]]) -> CLIPTokenizer:
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)  # type: ignore


def _learned_merges(prompts: Iterable[str]) -> list[tuple[str, str]]:
    """Learn merges on prompts that are split into words as CLIP splits them."""
    plain = {token: number for number, token in enumerate([*_alphabet(), START, END])}
    clip: Any = _clip_tokenizer(plain, []).backend_tokenizer  # pyright: ignore
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = BpeTrainer(vocab_size=VOCABULARY, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(prompts, trainer)
    return [(a, b) for a, b in json.loads(learner.to_str())["model"]["merges"]]
