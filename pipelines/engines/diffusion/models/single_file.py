"""Single-file checkpoints: base models in the layout of the original latent-diffusion code."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import SafetensorError, safe_open

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import one_line

_TEXT = {
    "StableDiffusionPipeline": ("cond_stage_model.",),
    "StableDiffusionXLPipeline": ("conditioner.embedders.0.", "conditioner.embedders.1."),
}


def require_checkpoint(file: Path, pipeline: str, *, with_vae: bool) -> None:
    """Raise InvalidRequest unless a file holds every network of a pipeline."""
    try:
        with safe_open(file, "pt") as tensors:
            keys = list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise InvalidRequest(f"it is not a valid .safetensors file ({error}).") from error
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

    `dtypes` are by part, or "default". Raises InvalidRequest for weights that do not fit.
    """
    kind: Any = AutoencoderKL
    try:
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
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        raise InvalidRequest(
            f"it does not fit the configuration of `base_config` ({one_line(error)[:200]})."
        ) from error
    parts = [getattr(pipe, name, None) for name in ("unet", "text_encoder", "text_encoder_2")]
    if any(p.is_meta for net in parts if net is not None for p in net.parameters()):
        raise InvalidRequest("it lacks weights that the configuration of `base_config` names.")
    return pipe
