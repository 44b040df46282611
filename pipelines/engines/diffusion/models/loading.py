"""Model loading: the networks of diffusion settings, from safetensors files only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object
from nightrain.depthmodel.weights import Found
from nightrain.pipelines.engines.diffusion.models.families import Capabilities
from nightrain.pipelines.engines.diffusion.models.finding import (
    about,
    check_base,
    file_of,
    find_parts,
    numbered,
)
from nightrain.pipelines.engines.diffusion.models.lora import add_lora
from nightrain.pipelines.engines.diffusion.models.parts import IpAdapter
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.single_file import (
    load_checkpoint,
)
from nightrain.pipelines.engines.diffusion.models.union import keep_samples_apart
from nightrain.pipelines.engines.weight_files import (
    own_variant,
)

_NETWORK_CLASSES = {  # by the name in a checkpoint's config.json
    "ControlNetModel": ControlNetModel,
    "ControlNetUnionModel": ControlNetUnionModel,
    "ControlNetModel_Union": ControlNetUnionModel,  # the authors' class, before diffusers had one
}


@dataclass(slots=True)
class Models:
    """Loaded networks of the settings, on one device."""

    pipe: Any  # the diffusers pipeline: text encoders, UNet, VAE, scheduler's config
    vae_decoder: nn.Module  # the pipeline's VAE or a tiny decoder
    controlnets: tuple[nn.Module, ...]  # one per control, or the one network of a union
    condition_embedders: tuple[nn.Module, ...]  # the ControlNets' first layers, split off
    names: dict[str, str]  # identities: {"base": "owner/model@revision", ...}
    device: torch.device
    dtype: torch.dtype

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Cast all networks to float32 within the block; casting them back is lossless."""
        modules = [m for m in self._modules() if m is not None]
        before = [next(m.parameters()).dtype for m in modules]
        dtype, self.dtype = self.dtype, torch.float32
        try:
            for module in modules:
                nn.Module.to(module, torch.float32)
            yield
        finally:
            self.dtype = dtype
            for module, kept in zip(modules, before, strict=True):
                nn.Module.to(module, kept)

    def _modules(self) -> list[nn.Module]:
        parts = [self.pipe.unet, self.pipe.vae, self.pipe.text_encoder]
        parts += [getattr(self.pipe, "text_encoder_2", None), self.pipe.image_encoder]
        decoder = [] if self.vae_decoder is self.pipe.vae else [self.vae_decoder]
        return [*parts, *decoder, *self.controlnets, *self.condition_embedders]


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Switch off the libraries' progress bars within the block."""
    switched = [x for x in (diffusers_logging, transformers_logging) if x.is_progress_bar_enabled()]
    for logging in switched:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging in switched:
            logging.enable_progress_bar()


@without_progress_bars()
def load_models(
    settings: DiffusionSettings, device: torch.device, *, offline: bool | None = None
) -> Models:
    """Load the networks of the settings; raises InvalidRequest for missing or unsafe files."""
    can = settings.require_family()
    found = find_parts(settings, offline)
    check_base(found["base"], settings, can)
    dtype = getattr(torch, settings.dtype)
    pipe = _load_pipeline(found, settings, can, dtype)
    _check_unet(pipe, found["base"].name)
    _add_loras(pipe, found, settings)
    controlnets = _load_controlnets(found, settings, can, pipe.unet, dtype)
    if settings.ip_adapters:
        _load_ip_adapters(pipe, settings.ip_adapters, found, dtype, settings.variant)
    decoder = pipe.vae
    if settings.tiny_decoder:
        decoder = AutoencoderTiny.from_pretrained(
            found["tiny_decoder"].folder, dtype=dtype, use_safetensors=True
        )
    pipe.to(device)
    for module in (decoder, *controlnets):
        nn.Module.to(module, device).eval()
    return Models(
        pipe=pipe,
        vae_decoder=decoder,
        controlnets=controlnets,
        condition_embedders=tuple(_take_embedder(net) for net in controlnets),
        names={part: what.name for part, what in found.items()},
        device=device,
        dtype=dtype,
    )


def _load_pipeline(
    found: dict[str, Found], settings: DiffusionSettings, can: Capabilities, dtype: torch.dtype
) -> Any:
    options: dict[str, Any] = {"image_encoder": None}
    vae_dtype = dtype
    if can.pipeline == "StableDiffusionXLPipeline":
        options["add_watermarker"] = False
        if dtype == torch.float16:  # SDXL's VAE overflows in half precision
            vae_dtype = torch.float32
    elif not settings.safety_checker:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if "vae" in found:
        options["vae"] = _load_vae(found["vae"], settings, dtype, vae_dtype)
    if settings.base.is_file:
        with about("base", settings.base):
            file = Path(settings.base.id_or_folder).expanduser()
            dtypes = {"default": dtype, "vae": vae_dtype}
            config = found["base_config"].folder
            pipe = load_checkpoint(file, config, can.pipeline, dtypes, options)
        pipe.set_progress_bar_config(disable=True)
        return pipe
    pipe = getattr(diffusers, can.pipeline).from_pretrained(
        found["base"].folder,
        variant=settings.variant,
        dtype={"default": dtype, "vae": vae_dtype},
        use_safetensors=True,
        local_files_only=True,
        **options,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_vae(
    what: Found, settings: DiffusionSettings, dtype: torch.dtype, safe_dtype: torch.dtype
) -> AutoencoderKL:
    """Load another autoencoder; in half precision if its configuration says that it can be."""
    config = read_object(what.folder / "config.json", "the configuration of an autoencoder")
    if config.get("_class_name") != "AutoencoderKL":
        raise InvalidRequest(
            f"vae: {what.name} is a {config.get('_class_name')}; expected an AutoencoderKL."
        )
    vae: Any = AutoencoderKL.from_pretrained(
        what.folder,
        dtype=safe_dtype if config.get("force_upcast", True) else dtype,
        variant=own_variant(what, settings.variant),
        use_safetensors=True,
    )
    return vae


def _add_loras(pipe: Any, found: dict[str, Found], settings: DiffusionSettings) -> None:
    parts = ("unet", "text_encoder", "text_encoder_2")
    networks = {part: net for part in parts if (net := getattr(pipe, part, None)) is not None}
    for part, key, lora in numbered("lora", settings.loras):
        with about(f"{key}.weights", lora.weights):
            add_lora(networks, file_of(lora.weights, lora.file, found[part]), lora.scale)


def _check_unet(pipe: Any, name: str) -> None:
    unet, expected = pipe.unet, pipe.vae.config.latent_channels
    if unet.config.in_channels != expected or unet.config.time_cond_proj_dim is not None:
        raise InvalidRequest(
            f"{name}: its UNet takes {unet.config.in_channels} channels, its autoencoder gives "
            f"{expected}"
            f"{' and the guidance as an input' if unet.config.time_cond_proj_dim else ''}; "
            "this engine runs ordinary text-to-image UNets (use an LCM-LoRA for few steps)."
        )


def _load_controlnets(
    found: dict[str, Found],
    settings: DiffusionSettings,
    can: Capabilities,
    unet: Any,
    dtype: torch.dtype,
) -> tuple[nn.Module, ...]:
    kind = ControlNetUnionModel if can.one_net else ControlNetModel
    nets = []
    for number in range(min(1, len(settings.controls)) if can.one_net else len(settings.controls)):
        what = found[f"control_{number}"]
        config = read_object(what.folder / "config.json", "the configuration of a ControlNet")
        if _NETWORK_CLASSES.get(str(config.get("_class_name"))) is not kind:
            raise InvalidRequest(
                f"{what.name} is a {config.get('_class_name')}, the family {settings.family!r} "
                f"needs a {kind.__name__}."
            )
        if config.get("cross_attention_dim") != unet.config.cross_attention_dim:
            raise InvalidRequest(
                f"{what.name} takes text of width {config.get('cross_attention_dim')}, the "
                f"base model has {unet.config.cross_attention_dim}. Use a ControlNet of the "
                f"family {settings.family!r}."
            )
        if config.get("global_pool_conditions"):
            raise InvalidRequest(
                f"{what.name} pools its control image, so it loses the geometry. Use another one."
            )
        if config.get("controlnet_conditioning_channel_order", "rgb") != "rgb":
            raise InvalidRequest(
                f"{what.name} takes control images in BGR order; only RGB is supported."
            )
        nets.append(
            kind.from_pretrained(
                what.folder,
                dtype=dtype,
                variant=own_variant(what, settings.variant),
                use_safetensors=True,
            )
        )
        if can.one_net:
            keep_samples_apart(nets[-1])
    return tuple(nets)


def _take_embedder(controlnet: Any) -> nn.Module:
    """Remove and return the embedding of control images, which is the same at every step."""
    embedder = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = nn.Identity()
    return embedder


def _load_ip_adapters(
    pipe: Any,
    adapters: Sequence[IpAdapter],
    found: dict[str, Found],
    dtype: torch.dtype,
    variant: str | None,
) -> None:
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        found["image_encoder"].folder,
        dtype=dtype,
        variant=own_variant(found["image_encoder"], variant),
        use_safetensors=True,
        local_files_only=True,
    )
    side: Any = encoder.config.image_size
    pipe.register_modules(
        image_encoder=encoder,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
    )
    files = [
        file_of(adapter.weights, adapter.file, found[part])
        for part, _, adapter in numbered("ip_adapter", adapters)
    ]
    pipe.load_ip_adapter(
        [str(file.parent) for file in files],
        subfolder=[""] * len(files),
        weight_name=[file.name for file in files],
        image_encoder_folder=None,
        local_files_only=True,
    )
    pipe.set_ip_adapter_scale([adapter.scale for adapter in adapters])
