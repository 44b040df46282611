"""Style stage: image encoder and IP-Adapter, with the other networks frozen.

The style image is another view of the same place and weather, so the adapter learns the look of an
image and not its geometry (IP-Adapter: Ye et al. 2023, arXiv 2308.06721).
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.networks.architecture import (
    IP_TOKENS,
    STYLE_SIDE,
    TEXT_WIDTH,
)
from nightrain.pipelines.small_diffusion.stages.denoiser import (
    Denoiser,
    LatentPool,
    TrainingBatch,
    uniform,
)
from nightrain.pipelines.small_diffusion.stages.graphs import Tensors
from nightrain.pipelines.small_diffusion.stages.stage import Budget, Losses, Stage, autocast

NO_STYLE, NO_TEXT = 0.1, 0.5  # shares of samples


def image_processor() -> CLIPImageProcessor:
    """Processor of style images: shorter side to 64 pixels, centre crop."""
    side = STYLE_SIDE
    return CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )


def add_adapter(unet: UNet2DConditionModel, image_width: int, seed: int = 0) -> nn.ModuleList:
    """Add new IP-Adapter layers to the UNet's cross-attentions; return the layers to train."""
    weights = _new_weights(unet, image_width, torch.Generator().manual_seed(seed))
    unet._load_ip_adapter_weights([weights], low_cpu_mem_usage=False)
    projection: Any = unet.encoder_hid_proj
    layers = nn.ModuleList([projection])
    for processor in unet.attn_processors.values():
        if isinstance(processor, nn.Module):
            layers.append(processor)
    return layers


def _new_weights(
    unet: UNet2DConditionModel, image_width: int, generator: torch.Generator
) -> dict[str, dict[str, torch.Tensor]]:
    projection = {
        "proj.weight": torch.randn(IP_TOKENS * TEXT_WIDTH, image_width, generator=generator)
        * image_width**-0.5,
        "proj.bias": torch.zeros(IP_TOKENS * TEXT_WIDTH),
        "norm.weight": torch.ones(TEXT_WIDTH),
        "norm.bias": torch.zeros(TEXT_WIDTH),
    }
    adapter = {}
    for number, name in enumerate(_crossed(unet)):
        attention: Any = unet.get_submodule(name)
        for part in ("to_k", "to_v"):
            weight = getattr(attention, part).weight.detach().cpu().float()
            start = weight if part == "to_k" else torch.zeros_like(weight)
            adapter[f"{2 * number + 1}.{part}_ip.weight"] = start.clone()
    return {"image_proj": projection, "ip_adapter": adapter}


def _crossed(unet: UNet2DConditionModel) -> list[str]:
    names = [n.removesuffix(".processor") for n in unet.attn_processors]
    return [name for name in names if name.endswith("attn2")]


def adapter_weights(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Weights of the adapter in the key layout of h94/IP-Adapter."""
    projection: Any = unet.encoder_hid_proj.image_projection_layers[0]  # pyright: ignore
    found = {
        "image_proj.proj.weight": projection.image_embeds.weight,
        "image_proj.proj.bias": projection.image_embeds.bias,
        "image_proj.norm.weight": projection.norm.weight,
        "image_proj.norm.bias": projection.norm.bias,
    }
    for number, name in enumerate(_crossed(unet)):
        processor: Any = unet.attn_processors[f"{name}.processor"]
        found[f"ip_adapter.{2 * number + 1}.to_k_ip.weight"] = processor.to_k_ip[0].weight
        found[f"ip_adapter.{2 * number + 1}.to_v_ip.weight"] = processor.to_v_ip[0].weight
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def style_pixels(pool: Pool) -> torch.Tensor:
    """Style inputs (N, 3, S, S) float16 of all views."""
    process = image_processor()
    parts = []
    for part in pool.pixels.cpu().split(256):
        found = process([image.numpy() for image in part], return_tensors="pt")
        parts.append(found["pixel_values"].half())
    return torch.cat(parts).to(pool.device)


def train_style(
    denoiser: Denoiser,
    image_encoder: CLIPVisionModelWithProjection,
    train: LatentPool,
    folder: Path,
    budget: Budget,
    *,
    batch: int,
    log_seconds: float,
    rate_scale: float = 1.0,
) -> None:
    """Train image encoder and adapter in place; a log line compares right and wrong styles."""
    for net in (denoiser.unet, denoiser.text_encoder, denoiser.controlnet):
        assert net is not None
        net.requires_grad_(False)
    layers = add_adapter(denoiser.unet, image_encoder.config.projection_dim).to(train.pool.device)
    layers.requires_grad_(True)
    pixels = style_pixels(train.pool)

    def draw(generator: torch.Generator) -> Tensors:
        drawn = train.batch(batch, generator, no_text=NO_TEXT)
        return {
            **drawn.tensors(),
            "controls": train.pool.control_images(drawn.numbers, drawn.flipped),
            "style": pixels[train.pool.partners(drawn.numbers, generator)].float(),
            "with_style": uniform(batch, generator) >= NO_STYLE,
        }

    def losses(inputs: Tensors) -> Losses:
        drawn = TrainingBatch.of(inputs)
        with autocast(drawn.noisy.device):
            style = image_encoder(inputs["style"]).image_embeds * inputs["with_style"][:, None]
            made = denoiser.predict(drawn, inputs["controls"], style=style[:, None])
        return {"loss": nn.functional.mse_loss(made.float(), drawn.target)}

    stage = Stage(
        name="style",
        folder=folder,
        networks={"layers": layers, "image_encoder": image_encoder},
        budget=budget,
        rate=rate_scale * 1e-3,
        average=0.998,
        log_seconds=log_seconds,
    )
    stage.run(draw, losses)
