"""Networks according to the settings: channels_last, compiled, or with a feature cache."""

from typing import Any

import torch

from nightrain.pipelines.engines.diffusion.controlnets import UNION_MODES
from nightrain.pipelines.engines.diffusion.feature_cache import (
    hooked_controlnets,
    hooked_unet,
    remove_hooks,
)
from nightrain.pipelines.engines.diffusion.models.families import FAMILIES
from nightrain.pipelines.engines.diffusion.models.loading import Models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.network_inputs import Networks

_COMPILE_MODES = {"default": None, "max-autotune": "max-autotune-no-cudagraphs"}


def make_networks(models: Models, settings: DiffusionSettings, *, plain: bool = False) -> Networks:
    """Prepare the networks according to the settings; with `plain`, without compilation."""
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    pipe, nets = models.pipe, models.controlnets
    union = FAMILIES[settings.family].one_net
    for module in (pipe.unet, models.vae_decoder, *nets, *models.condition_embedders):
        module.to(memory_format=memory_format)
    for module in (pipe.unet, *nets):
        remove_hooks(module)
    unet, controlnets = _called(models, settings, plain)
    return Networks(
        unet=unet,
        controlnets=controlnets,
        union_modes=tuple(UNION_MODES[c.kind] for c in settings.controls) if union else None,
        num_union_modes=nets[0].config.num_control_type if union and nets else 0,  # type: ignore
        size_ids=FAMILIES[settings.family].pipeline == "StableDiffusionXLPipeline",
        vae_factor=pipe.vae_scale_factor,
        dtype=models.dtype,
        memory_format=memory_format,
    )


def _called(models: Models, settings: DiffusionSettings, plain: bool) -> tuple[Any, tuple]:
    """Return the callables for the UNet and the ControlNets."""
    unet, nets, cache = models.pipe.unet, models.controlnets, settings.feature_cache
    if cache is not None:
        return hooked_unet(unet, settings, cache), hooked_controlnets(nets, settings, cache)
    return _compiled(unet, settings, plain), tuple(_compiled(n, settings, plain) for n in nets)


def make_decoder(models: Models, settings: DiffusionSettings, *, plain: bool = False) -> Any:
    """Return the decoder: latents (B, 4, h, w) to an image (B, 3, H, W) in [-1, 1]."""
    return _compiled(models.vae_decoder.decode, settings, plain)


def _compiled(function: Any, settings: DiffusionSettings, plain: bool) -> Any:
    if plain or settings.compile == "off":
        return function
    return torch.compile(function, mode=_COMPILE_MODES[settings.compile], dynamic=False)
