"""Single files: base models and autoencoders, in the original code's names or diffusers'."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.loading_reports import require_complete
from nightrain.pipelines.engines.model_loading import missing_weights, read_keys

Tensors = dict[str, torch.Tensor]
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TEXT = {
    "StableDiffusionPipeline": ("cond_stage_model.",),
    "StableDiffusionXLPipeline": ("conditioner.embedders.0.", "conditioner.embedders.1."),
}


def require_checkpoint(file: Path, pipeline: str, *, with_vae: bool) -> None:
    """Raise InvalidRequest unless a file holds every network of a pipeline."""
    keys = read_keys(file)
    vae = ("first_stage_model.",) if with_vae else ()
    for prefix in ("model.diffusion_model.", *vae, *_TEXT[pipeline]):
        if not any(key.startswith(prefix) for key in keys):
            raise InvalidRequest(
                f"the file has no weights {prefix}*, so it is not a complete checkpoint of this "
                "`family`. Use a full checkpoint of the family (a LoRA belongs to `lora`)."
            )


def load_checkpoint(
    file: Path, config: Path, pipeline: str, dtypes: dict[str, torch.dtype], options: dict[str, Any]
) -> Any:
    """Load a checkpoint with the configuration and tokenizers of a folder, without the network.

    `dtypes` are by part, or "default". Raises InvalidRequest for missing weights, and what the
    libraries raise for weights that do not fit.
    """
    kind: Any = AutoencoderKL
    vae = options.get("vae") or kind.from_single_file(
        str(file), config=str(config), subfolder="vae", torch_dtype=dtypes["vae"]
    )
    pipe = getattr(diffusers, pipeline).from_single_file(
        str(file),
        config=str(config),
        torch_dtype=dtypes["default"],
        local_files_only=True,
        **(options | {"vae": vae}),
    )
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if (net := getattr(pipe, part, None)) is not None:
            require_complete(part, missing_weights(net))
    return pipe


def load_vae_file(file: Path, config: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Load an autoencoder with the configuration of another one; raises InvalidRequest."""
    tensors = read_tensors(file)
    if not any("encoder.conv_in.weight" in key for key in tensors):
        raise InvalidRequest(
            f"the file is not an autoencoder: it has {len(tensors)} weights, such as "
            f"{min(tensors, default='none')!r}."
        )
    kind: Any = AutoencoderKL
    with torch.device("meta"):
        net = kind.from_config(config)
    if any(".down_blocks." in key for key in tensors):
        tensors = {_present_name(key): value for key, value in tensors.items()}
    else:
        tensors = convert_ldm_vae_checkpoint(tensors, config)
    return network_of_tensors(net, tensors, dtype)


def _present_name(key: str) -> str:
    """Name of a weight today; autoencoders of 2022 call the layers of attention otherwise."""
    for old, new in _ATTENTION.items():
        key = key.replace(f"attentions.0.{old}.", f"attentions.0.{new}.")
    return key


def read_tensors(file: Path) -> Tensors:
    """Read the tensors of a .safetensors file; raises InvalidRequest for a damaged one."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InvalidRequest(f"it is not a valid .safetensors file ({error}).") from error


def network_of_tensors(net: Any, tensors: Tensors, dtype: torch.dtype) -> Any:
    """Return a network without storage with its tensors in place; others are ignored.

    Raises InvalidRequest for tensors that are missing or have another shape.
    """
    wanted = net.state_dict()
    require_complete("", sorted(wanted.keys() - tensors.keys()))
    given = {key: tensors[key] for key in wanted}
    for key, value in given.items():
        if value.shape != wanted[key].shape:
            raise InvalidRequest(
                f"its weight {key} has shape {tuple(value.shape)}, a network for this `base` has "
                f"{tuple(wanted[key].shape)}. Use a file for this base model."
            )
    net.load_state_dict(given, assign=True)
    return nn.Module.to(net, dtype).eval()


def require_ip_adapter(file: Path) -> None:
    """Raise InvalidRequest unless a file holds an IP-Adapter."""
    keys = read_keys(file)
    if not {key.partition(".")[0] for key in keys} >= {"image_proj", "ip_adapter"}:
        raise InvalidRequest(
            f"the file is not an IP-Adapter: it has {len(keys)} weights, such as "
            f"{min(keys, default='none')!r}."
        )
