"""Loading: a pipeline's models, from safetensors files only, checked before they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object
from nightrain.datasets.registry import one_line
from nightrain.depthmodel.weights import Found, Weights, resolve
from nightrain.pipelines.engines.diffusion.models.loading import without_progress_bars
from nightrain.pipelines.engines.pipeline.pipeline_class import PipelineClass, pipeline_class
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.weight_files import require_weight_files, weight_patterns

NETWORKS = ("transformer", "unet", "vae")
PROCESSORS = ("tokenizer", "processor", "feature_extractor", "scheduler")
UNUSED = {"safety_checker": None, "image_encoder": None}  # parts that are not loaded
LOADING_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError)


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline on its device, with the identities of its weights."""

    pipe: Any
    names: dict[str, str]  # {"base": "owner/model@revision", "control_0": ...}
    guidance: float | None  # of the settings; 1 for a model that is distilled and takes none


@without_progress_bars()
def load_pipeline(
    settings: PipelineSettings, device: torch.device, *, offline: bool | None = None
) -> LoadedPipeline:
    """Load the models of the settings; raises InvalidRequest for missing or unfit ones."""
    found_class = pipeline_class(settings.pipeline)
    found = _find(settings, found_class, offline)
    index = read_object(found["base"].folder / "model_index.json", "the index of a pipeline")
    problem = next(_problems(settings, found_class, found["base"], index), None)
    if problem is not None:
        raise InvalidRequest(f"base: {found['base'].name} {problem}")
    held = [part for part in found_class.parts if isinstance(index.get(part), list)]
    held = [p for p in held if p in NETWORKS or (p.startswith("text_encoder") and index[p][1])]
    require_weight_files(found["base"], held, settings.variant)
    dtype = getattr(torch, settings.dtype)
    given: dict[str, Any] = {part: None for part in UNUSED if part in found_class.parts}
    if "requires_safety_checker" in found_class.parts:
        given["requires_safety_checker"] = False
    nets = [found[name] for name in found if name.startswith("control_")]
    try:
        if nets:
            given["controlnet"] = _controlnet(nets, found_class, dtype)
        pipe = getattr(diffusers, settings.pipeline).from_pretrained(
            found["base"].folder,
            dtype=dtype,
            variant=settings.variant,
            use_safetensors=True,
            local_files_only=True,
            quantization_config=_quantisation(settings, found_class, dtype),
            **given,
        )
    except LOADING_ERRORS as error:
        raise InvalidRequest(
            f"{found['base'].name} cannot be loaded as a {settings.pipeline}: {one_line(error)}"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    _place(pipe, settings, device, dtype)
    guidance = 1.0 if index.get("is_distilled") else settings.guidance
    return LoadedPipeline(pipe, {part: what.name for part, what in found.items()}, guidance)


def _find(
    settings: PipelineSettings, found_class: PipelineClass, offline: bool | None
) -> dict[str, Found]:
    """Find every part before loading any, so that a missing one fails at once."""
    patterns = base_patterns(found_class, settings.variant)
    found = {"base": resolve(settings.base, offline=offline, patterns=patterns)}
    for number, control in enumerate(settings.controls):
        if control.weights is not None:
            found[f"control_{number}"] = _net(control.weights, offline)
    return found


def base_patterns(found_class: PipelineClass, variant: str | None) -> list[str]:
    """File patterns of a pipeline's own parts; a repository often holds other formats, too."""
    patterns = ["model_index.json"]
    for part in (part for part in found_class.parts if part not in UNUSED):
        patterns += [f"{part}/{name}" for name in ("*config.json", *weight_patterns(variant))]
        if part.startswith(PROCESSORS):
            patterns += [f"{part}/*.{kind}" for kind in ("json", "txt", "model", "jinja")]
    return patterns


def _net(weights: Weights, offline: bool | None) -> Found:
    return resolve(weights, offline=offline, patterns=("config.json", *weight_patterns(None)))


def _problems(
    settings: PipelineSettings, found_class: PipelineClass, base: Found, index: dict[str, Any]
) -> Iterator[str]:
    """Yield why a base model does not fit a class, each with advice."""
    for part in NETWORKS:
        annotation = found_class.parts.get(part)
        if annotation is None:
            continue
        held = index.get(part)
        kind = held[1] if isinstance(held, list) and len(held) == 2 else None
        if kind is None:
            yield f"has no part {part!r}, which {settings.pipeline} needs. Use another base model."
        elif kind not in annotation:
            yield (
                f"has a {kind} as its {part}; {settings.pipeline} takes {annotation}. Use a base "
                "model of that class, or another `pipeline`."
            )
    if index.get("is_distilled") and settings.guidance is not None:
        yield "is distilled and ignores guidance: leave `guidance` out."


def _controlnet(nets: Sequence[Found], found_class: PipelineClass, dtype: torch.dtype) -> Any:
    """Load the ControlNets: one model, or the class's container of several."""
    models = [_one_controlnet(net, found_class, dtype) for net in nets]
    if len(models) == 1:
        return models[0]
    annotation = found_class.parts["controlnet"]
    if "list[" in annotation:
        return models
    container = next(name for name in annotation.split(" | ") if "Multi" in name)
    return getattr(diffusers, container)(models)


def _one_controlnet(net: Found, found_class: PipelineClass, dtype: torch.dtype) -> Any:
    config = read_object(net.folder / "config.json", "the configuration of a ControlNet")
    kind, annotation = str(config.get("_class_name")), found_class.parts["controlnet"]
    model = getattr(diffusers, kind, None)
    fits = kind in annotation.replace("[", " ").replace("]", " ").split()
    if not (fits and isinstance(model, type) and issubclass(model, ModelMixin)):
        raise InvalidRequest(
            f"controls: {net.name} is a {kind}; {found_class.name} takes {annotation}. Use a "
            "ControlNet of that class."
        )
    return model.from_pretrained(net.folder, dtype=dtype, use_safetensors=True)


def _quantisation(
    settings: PipelineSettings, found_class: PipelineClass, dtype: torch.dtype
) -> Any:
    """Configuration of bitsandbytes for the denoiser and the largest text encoder, or None."""
    method, _, bits = settings.quantisation.partition("-")
    if method != "bitsandbytes":
        return None
    encoders = sorted(part for part in found_class.parts if part.startswith("text_encoder"))
    options: dict[str, Any] = {f"load_in_{bits}": True}
    if bits == "4bit":
        options["bnb_4bit_compute_dtype"] = dtype
    return PipelineQuantizationConfig(
        quant_backend=f"bitsandbytes_{bits}",
        quant_kwargs=options,
        components_to_quantize=[p for p in NETWORKS[:2] if p in found_class.parts] + encoders[-1:],
    )


def _place(pipe: Any, settings: PipelineSettings, device: torch.device, dtype: torch.dtype) -> None:
    """Move a pipeline to its device, or let its parts be moved there when they run."""
    if settings.quantisation == "float8":
        denoiser = getattr(pipe, "transformer", None) or pipe.unet
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if device.type != "cpu" and settings.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif device.type != "cpu" and settings.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
