"""ControlNets: loading from folders and single files, checked against the base model's UNet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object
from nightrain.depthmodel.weights import Found
from nightrain.pipelines.engines.diffusion.models.families import Capabilities
from nightrain.pipelines.engines.diffusion.models.ldm_names import ldm_controlnet_name
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.single_file import (
    Tensors,
    network_of_tensors,
    read_tensors,
)
from nightrain.pipelines.engines.diffusion.models.union import keep_samples_apart
from nightrain.pipelines.engines.model_loading import file_of, load_network, loading

_NETWORK_CLASSES = {  # by the name in a checkpoint's config.json
    "ControlNetModel": ControlNetModel,
    "ControlNetUnionModel": ControlNetUnionModel,
    "ControlNetModel_Union": ControlNetUnionModel,  # the authors' class, before diffusers had one
}
_LDM_PREFIX = "control_model."
_EMBEDDER = "controlnet_cond_embedding"


def load_controlnets(
    found: dict[str, Found],
    settings: DiffusionSettings,
    can: Capabilities,
    unet: Any,
    dtype: torch.dtype,
) -> tuple[nn.Module, ...]:
    """Load one ControlNet per control, or the one network of a union; raises InvalidRequest."""
    kind = ControlNetUnionModel if can.one_net else ControlNetModel
    nets = []
    controls = settings.controls[:1] if can.one_net else settings.controls
    for number, control in enumerate(controls):
        what = found[f"control_{number}"]
        with loading(f"controls[{number}].weights", control.weights):
            if control.weights.is_file:
                net = _load_file(file_of(control.weights, "", what), kind, settings, unet, dtype)
            else:
                net = _load_folder(what, kind, settings, unet, dtype)
        if can.one_net:
            keep_samples_apart(net)
        nets.append(net)
    return tuple(nets)


def take_embedder(controlnet: Any) -> nn.Module:
    """Remove and return the embedding of control images, which is the same at every step."""
    embedder = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = nn.Identity()
    return embedder


def _load_folder(
    what: Found, kind: Any, settings: DiffusionSettings, unet: Any, dtype: torch.dtype
) -> Any:
    config = read_object(what.folder / "config.json", "the configuration of a ControlNet")
    if _NETWORK_CLASSES.get(str(config.get("_class_name"))) is not kind:
        raise InvalidRequest(
            f"{what.name} is a {config.get('_class_name')}, the family {settings.family!r} "
            f"needs a {kind.__name__}."
        )
    _require_text_width(config.get("cross_attention_dim"), settings, unet)
    if config.get("global_pool_conditions"):
        raise InvalidRequest("it pools its control image, so it loses the geometry. Use another.")
    if config.get("controlnet_conditioning_channel_order", "rgb") != "rgb":
        raise InvalidRequest("it takes control images in BGR order; only RGB is supported.")
    return load_network(kind, what, "", dtype=dtype, variant=settings.variant)


def _load_file(
    file: Path, kind: Any, settings: DiffusionSettings, unet: Any, dtype: torch.dtype
) -> Any:
    """Load a single file, in diffusers' names or the original code's; its sizes are the UNet's."""
    tensors = read_tensors(file)
    tensors = {key.removeprefix(_LDM_PREFIX): value for key, value in tensors.items()}
    is_original = "time_embed.0.weight" in tensors
    if not is_original and "controlnet_mid_block.weight" not in tensors:
        raise InvalidRequest(
            f"the file is not a ControlNet: it has {len(tensors)} weights, such as "
            f"{min(tensors, default='none')!r}. Adapters and LoRAs for control are not supported."
        )
    is_union = "task_embedding" in tensors
    if is_union != (kind is ControlNetUnionModel):
        raise InvalidRequest(
            f"the file is {'a union' if is_union else 'one'} ControlNet, the family "
            f"{settings.family!r} needs a {kind.__name__}."
        )
    widths = [value.shape[1] for key, value in tensors.items() if key.endswith("attn2.to_k.weight")]
    _require_text_width(widths[0] if widths else None, settings, unet)
    with torch.device("meta"):
        net = kind(**_config(kind, unet, tensors, is_original))
    if is_original:
        layers = unet.config.layers_per_block
        tensors = _in_our_names(net, tensors, layers)
    return network_of_tensors(net, tensors, dtype)


def _require_text_width(width: int | None, settings: DiffusionSettings, unet: Any) -> None:
    if width != unet.config.cross_attention_dim:
        raise InvalidRequest(
            f"it takes text of width {width}, the base model has "
            f"{unet.config.cross_attention_dim}. Use a ControlNet of the family "
            f"{settings.family!r}."
        )


def _config(kind: Any, unet: Any, tensors: Tensors, is_original: bool) -> dict[str, Any]:
    """Configuration of a ControlNet for a UNet, with the sizes that the UNet does not decide."""
    known = kind._get_init_keys(kind)
    config = {name: value for name, value in unet.config.items() if name in known}
    config["conditioning_embedding_out_channels"] = _embedder_widths(tensors, is_original)
    if kind is ControlNetUnionModel:
        number, width = tensors["task_embedding"].shape
        config |= {
            "num_control_type": number,
            "num_trans_channel": width,
            "num_proj_channel": len(tensors["spatial_ch_projs.weight"]),
        }
    return config


def _embedder_widths(tensors: Tensors, is_original: bool) -> tuple[int, ...]:
    """Channels of the embedding of control images: its first layer, then every second one."""
    first, block, each = (
        ("input_hint_block.0", "input_hint_block.{}", 2)
        if is_original
        else (f"{_EMBEDDER}.conv_in", f"{_EMBEDDER}.blocks.{{}}", 1)
    )
    widths, number = [len(tensors[f"{first}.weight"])], 2 if is_original else 0
    layers = []
    while (key := f"{block.format(number)}.weight") in tensors:
        layers.append(len(tensors[key]))
        number += each
    if is_original:
        layers = layers[:-1]  # the last one projects to the UNet's width
    return (*widths, *layers[1::2])


def _in_our_names(net: nn.Module, tensors: Mapping[str, torch.Tensor], layers: int) -> Tensors:
    """Tensors of the original code under the names of a network's parameters, where they exist."""
    found: Tensors = {}
    for name, _ in net.named_parameters():
        module, _, kind = name.rpartition(".")
        original = f"{ldm_controlnet_name(module, layers)}.{kind}"
        if original in tensors:
            found[name] = tensors[original]
    return found
