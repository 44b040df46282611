"""Finding of weights: the files of every part of diffusion settings, before anything is loaded.

An error begins with the recipe's key and its value.
"""

from contextlib import suppress
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import mapping, parse_json
from nightrain.datasets.io.regular import matching
from nightrain.depthmodel.weights import Found, Weights, about, resolve, resolve_single
from nightrain.pipelines.engines.diffusion.models.families import Capabilities
from nightrain.pipelines.engines.diffusion.models.parts import numbered
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.single_file import require_checkpoint
from nightrain.pipelines.engines.weight_files import (
    own_variant,
    pipeline_patterns,
    require_weight_files,
    weight_patterns,
)

_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "safety_checker")


def find_parts(settings: DiffusionSettings, offline: bool | None) -> dict[str, Found]:
    """Find every part before loading any; raises InvalidRequest for a missing one."""
    with about("base", settings.base):
        if settings.base.is_file:
            found = {"base": resolve_single(settings.base)}
        else:
            patterns = pipeline_patterns(settings.variant)
            found = {"base": resolve(settings.base, offline=offline, patterns=patterns)}
    if config := settings.config_of_base:
        with about("base_config", config):
            found["base_config"] = resolve(
                config, offline=offline, patterns=("*.json", "*.txt"), has_weights=False
            )
    for number, control in enumerate(settings.controls):
        with about(f"controls[{number}].weights", control.weights):
            found[f"control_{number}"] = _file_or_model(control.weights, offline, settings.variant)
    for part, key, adapter in numbered("ip_adapter", settings.ip_adapters):
        with about(f"{key}.weights", adapter.weights):
            found[part] = _with_file(adapter.weights, adapter.file, offline)
    if settings.ip_adapters:
        encoder = settings.ip_adapters[0].image_encoder
        with about("ip_adapter.image_encoder", encoder):
            found["image_encoder"] = _one_model(encoder, offline, settings.variant)
    for part, key, lora in numbered("lora", settings.loras):
        with about(f"{key}.weights", lora.weights):
            found[part] = _with_file(lora.weights, lora.file, offline)
    if settings.vae:
        with about("vae", settings.vae):
            found["vae"] = _file_or_model(settings.vae, offline, settings.variant)
    if settings.tiny_decoder:
        with about("tiny_decoder", settings.tiny_decoder):
            found["tiny_decoder"] = _one_model(settings.tiny_decoder, offline, settings.variant)
    return found


def _file_or_model(weights: Weights, offline: bool | None, variant: str | None) -> Found:
    if weights.is_file:
        return resolve_single(weights)
    return _one_model(weights, offline, variant)


def _one_model(weights: Weights, offline: bool | None, variant: str | None) -> Found:
    """Find one network: the files of a variant if it has some, else the plain ones."""
    if variant is not None:
        patterns = ("config.json", *weight_patterns(variant))
        with suppress(InvalidRequest):
            found = resolve(weights, offline=offline, patterns=patterns)
            if own_variant(found, variant):
                return found
    return resolve(weights, offline=offline, patterns=("config.json", *weight_patterns(None)))


def _with_file(weights: Weights, file: str, offline: bool | None) -> Found:
    if weights.is_file:
        return resolve_single(weights)
    if not file.endswith(".safetensors") or "/" in file:
        raise InvalidRequest(
            f"{weights.id_or_folder}: {file!r} is not a .safetensors file name. Name one file "
            "without its folder (use `subfolder` for that); other formats can run code."
        )
    found = resolve(weights, offline=offline, patterns=(file,))
    if not (found.folder / file).is_file():
        there = ", ".join(p.name for p in matching(found.folder, "*.safetensors")[:5])
        raise InvalidRequest(
            f"{weights.id_or_folder} has no file {file!r}; found: {there or 'none'}."
        )
    return found


def check_base(base: Found, settings: DiffusionSettings, can: Capabilities) -> None:
    """Check the pipeline's class, and that every part has safetensors weights.

    Raises InvalidRequest.
    """
    with about("base", settings.base):
        if settings.base.is_file:
            file = Path(settings.base.id_or_folder).expanduser()
            require_checkpoint(file, can.pipeline, with_vae=settings.vae is None)
        else:
            _check_folder(base, settings, can)


def _check_folder(base: Found, settings: DiffusionSettings, can: Capabilities) -> None:
    try:
        index = mapping(parse_json((base.folder / "model_index.json").read_bytes()))
        kind = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"{base.name} has no readable model_index.json ({error}); expected a folder in "
            "diffusers' layout, or a single .safetensors file."
        ) from error
    if kind != can.pipeline:
        raise InvalidRequest(
            f"{base.name} is a {kind}, the family {settings.family!r} is a {can.pipeline}. "
            "Choose the family that fits the base model."
        )
    wanted = [p for p in _PARTS[:4] if p in index and not (p == "vae" and settings.vae)]
    wanted += ["safety_checker"] if settings.safety_checker else []
    require_weight_files(base, wanted, settings.variant)
    for part in ("tokenizer", "tokenizer_2"):
        files = [base.folder / part / name for name in ("tokenizer.json", "vocab.json")]
        if part in index and not any(path.is_file() for path in files):
            raise InvalidRequest(
                f"{base.name} has no tokenizer.json or vocab.json in {part}/. Use a complete copy "
                "of the model."
            )
