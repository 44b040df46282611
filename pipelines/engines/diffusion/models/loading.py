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
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object
from nightrain.depthmodel.weights import Found
from nightrain.pipelines.engines.diffusion.models.control_networks import (
    load_controlnets,
    take_embedder,
)
from nightrain.pipelines.engines.diffusion.models.families import Capabilities
from nightrain.pipelines.engines.diffusion.models.finding import check_base, find_parts
from nightrain.pipelines.engines.diffusion.models.lora import add_lora
from nightrain.pipelines.engines.diffusion.models.parts import IpAdapter, numbered
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.single_file import (
    load_checkpoint,
    load_vae_file,
    require_ip_adapter,
)
from nightrain.pipelines.engines.model_loading import (
    file_of,
    load_network,
    loading,
    quiet_libraries,
)


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


@quiet_libraries()
def load_models(
    settings: DiffusionSettings, device: torch.device, *, offline: bool | None = None
) -> Models:
    """Load the networks of the settings; raises InvalidRequest for missing or unsafe files."""
    can = settings.require_family()
    found = find_parts(settings, offline)
    check_base(found["base"], settings, can)
    dtype = getattr(torch, settings.dtype)
    pipe = _load_pipeline(found, settings, can, dtype)
    _add_loras(pipe, found, settings)
    controlnets = load_controlnets(found, settings, can, pipe.unet, dtype)
    if settings.ip_adapters:
        _load_image_encoder(pipe, settings, found["image_encoder"], dtype)
        _load_ip_adapters(pipe, settings.ip_adapters, found)
    decoder = pipe.vae
    if settings.tiny_decoder:
        with loading("tiny_decoder", settings.tiny_decoder):
            tiny = found["tiny_decoder"]
            decoder = load_network(AutoencoderTiny, tiny, "", dtype=dtype, variant=settings.variant)
    pipe.to(device)
    for module in (decoder, *controlnets):
        nn.Module.to(module, device).eval()
    return Models(
        pipe=pipe,
        vae_decoder=decoder,
        controlnets=controlnets,
        condition_embedders=tuple(take_embedder(net) for net in controlnets),
        names={part: what.name for part, what in found.items()},
        device=device,
        dtype=dtype,
    )


def _load_pipeline(
    found: dict[str, Found], settings: DiffusionSettings, can: Capabilities, dtype: torch.dtype
) -> Any:
    is_xl = can.pipeline == "StableDiffusionXLPipeline"
    # SDXL's VAE overflows in half precision
    vae_dtype = torch.float32 if is_xl and dtype == torch.float16 else dtype
    options: dict[str, Any] = {"image_encoder": None}
    if is_xl:
        options["add_watermarker"] = False
    elif not settings.safety_checker:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if settings.vae is not None:
        with loading("vae", settings.vae):
            options["vae"] = _load_vae(found, settings, dtype, vae_dtype)
    with loading("base", settings.base):
        if settings.base.is_file:
            file = Path(settings.base.id_or_folder).expanduser()
            dtypes = {"default": dtype, "vae": vae_dtype}
            config = found["base_config"].folder
            pipe = load_checkpoint(file, config, can.pipeline, dtypes, options)
        else:
            pipe = _load_folder(found["base"], settings, can, (dtype, vae_dtype), options)
        _check_unet(pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_folder(
    base: Found,
    settings: DiffusionSettings,
    can: Capabilities,
    dtypes: tuple[torch.dtype, torch.dtype],
    options: dict[str, Any],
) -> Any:
    """Load a base model in diffusers' layout: its networks one by one, then the rest.

    `dtypes` are those of the autoencoder, last, and of all other networks.
    """
    dtype, vae_dtype = dtypes
    kinds: dict[str, Any] = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
    if can.pipeline == "StableDiffusionXLPipeline":
        kinds["text_encoder_2"] = CLIPTextModelWithProjection
    if settings.safety_checker:
        kinds["safety_checker"] = StableDiffusionSafetyChecker
    if "vae" not in options:
        kinds["vae"] = AutoencoderKL
    nets = {
        part: load_network(
            kind,
            base,
            part,
            dtype=vae_dtype if part == "vae" else dtype,
            variant=settings.variant,
        )
        for part, kind in kinds.items()
    }
    return getattr(diffusers, can.pipeline).from_pretrained(
        base.folder, dtype=dtype, local_files_only=True, **options, **nets
    )


def _load_vae(
    found: dict[str, Found],
    settings: DiffusionSettings,
    dtype: torch.dtype,
    safe_dtype: torch.dtype,
) -> Any:
    """Load another autoencoder; in half precision if its configuration says that it can be.

    A single file has the base model's configuration.
    """
    what, weights = found["vae"], settings.vae
    if weights is not None and weights.is_file:
        folder = found.get("base_config", found["base"]).folder
        config = read_object(folder / "vae/config.json", "the configuration of an autoencoder")
        upcast = config.get("force_upcast", True)
        return load_vae_file(file_of(weights, "", what), config, safe_dtype if upcast else dtype)
    config = read_object(what.folder / "config.json", "the configuration of an autoencoder")
    if config.get("_class_name") != "AutoencoderKL":
        raise InvalidRequest(
            f"{what.name} is a {config.get('_class_name')}; expected an AutoencoderKL."
        )
    return load_network(
        AutoencoderKL,
        what,
        "",
        dtype=safe_dtype if config.get("force_upcast", True) else dtype,
        variant=settings.variant,
    )


def _add_loras(pipe: Any, found: dict[str, Found], settings: DiffusionSettings) -> None:
    parts = ("unet", "text_encoder", "text_encoder_2")
    networks = {part: net for part in parts if (net := getattr(pipe, part, None)) is not None}
    for part, key, lora in numbered("lora", settings.loras):
        with loading(f"{key}.weights", lora.weights):
            add_lora(networks, file_of(lora.weights, lora.file, found[part]), lora.scale)


def _check_unet(pipe: Any) -> None:
    unet, expected = pipe.unet, pipe.vae.config.latent_channels
    if unet.config.in_channels != expected or unet.config.time_cond_proj_dim is not None:
        raise InvalidRequest(
            f"its UNet takes {unet.config.in_channels} channels, its autoencoder gives {expected}"
            f"{' and the guidance as an input' if unet.config.time_cond_proj_dim else ''}; "
            "this engine runs ordinary text-to-image UNets (use an LCM-LoRA for few steps)."
        )


def _load_image_encoder(
    pipe: Any, settings: DiffusionSettings, found: Found, dtype: torch.dtype
) -> None:
    with loading("ip_adapter.image_encoder", settings.ip_adapters[0].image_encoder):
        encoder = load_network(
            CLIPVisionModelWithProjection, found, "", dtype=dtype, variant=settings.variant
        )
        side: Any = encoder.config.image_size
        pipe.register_modules(
            image_encoder=encoder,
            feature_extractor=CLIPImageProcessor(
                size={"shortest_edge": side}, crop_size={"height": side, "width": side}
            ),
        )


def _load_ip_adapters(pipe: Any, adapters: Sequence[IpAdapter], found: dict[str, Found]) -> None:
    files = []
    for part, key, adapter in numbered("ip_adapter", adapters):
        files.append(file_of(adapter.weights, adapter.file, found[part]))
        with loading(f"{key}.weights", adapter.weights):
            require_ip_adapter(files[-1])
    with loading("ip_adapter.weights", adapters[0].weights):
        pipe.load_ip_adapter(
            [str(file.parent) for file in files],
            subfolder=[""] * len(files),
            weight_name=[file.name for file in files],
            image_encoder_folder=None,
            local_files_only=True,
        )
    pipe.set_ip_adapter_scale([adapter.scale for adapter in adapters])
