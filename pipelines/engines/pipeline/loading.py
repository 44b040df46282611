"""Loading: a pipeline's models, from safetensors files only, checked before they are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.modeling_utils import ModelMixin
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import read_object
from nightrain.depthmodel.weights import Found, Weights, about, resolve
from nightrain.pipelines.engines.model_loading import (
    load_network,
    loading,
    quiet_libraries,
)
from nightrain.pipelines.engines.pipeline.pipeline_class import PipelineClass, pipeline_class
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.weight_files import (
    pipeline_patterns,
    require_weight_files,
    weight_patterns,
)

NETWORKS = ("transformer", "unet", "vae")
UNUSED = {"safety_checker": None, "image_encoder": None}  # parts that are not loaded


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline on its device, with the identities of its weights."""

    pipe: Any
    names: dict[str, str]  # {"base": "owner/model@revision", "control_0": ...}
    guidance: float | None  # of the settings; 1 for a model that is distilled and takes none


@quiet_libraries()
def load_pipeline(
    settings: PipelineSettings, device: torch.device, *, offline: bool | None = None
) -> LoadedPipeline:
    """Load the models of the settings; raises InvalidRequest for missing or unfit ones."""
    found_class = pipeline_class(settings.pipeline)
    found = _find(settings, offline)
    dtype = getattr(torch, settings.dtype)
    base = found["base"]
    given: dict[str, Any] = {part: None for part in UNUSED if part in found_class.parts}
    if "requires_safety_checker" in found_class.parts:
        given["requires_safety_checker"] = False
    with loading("base", settings.base):
        index = read_object(base.folder / "model_index.json", "the index of a pipeline")
        problem = next(_problems(settings, found_class, index), None)
        if problem is not None:
            raise InvalidRequest(problem)
        kinds = _network_kinds(found_class, index)
        require_weight_files(base, list(kinds), settings.variant)
    if any(control.weights is not None for control in settings.controls):
        given["controlnet"] = _controlnet(settings, found, found_class, dtype)
    with loading("base", settings.base):
        quantised = _quantised(settings, found_class)
        for part in kinds.keys() - set(quantised):
            given[part] = load_network(
                kinds[part], base, part, dtype=dtype, variant=settings.variant
            )
        pipe = getattr(diffusers, settings.pipeline).from_pretrained(
            base.folder,
            dtype=dtype,
            variant=settings.variant if quantised else None,
            use_safetensors=True,
            local_files_only=True,
            quantization_config=_quantisation(settings, quantised, dtype),
            **given,
        )
    pipe.set_progress_bar_config(disable=True)
    _place(pipe, settings, device, dtype)
    guidance = 1.0 if index.get("is_distilled") else settings.guidance
    return LoadedPipeline(pipe, {part: what.name for part, what in found.items()}, guidance)


def _network_kinds(found_class: PipelineClass, index: dict[str, Any]) -> dict[str, Any]:
    """Class of each network of a base model, by part; raises InvalidRequest for unknown ones."""
    kinds: dict[str, Any] = {}
    for part in found_class.parts:
        held = index.get(part)
        if not isinstance(held, list) or not part.startswith((*NETWORKS, "text_encoder")):
            continue
        library, name = held
        if name is None:
            continue
        kind = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), name, 0)
        if not isinstance(kind, type):
            raise InvalidRequest(
                f"its {part} is a {library}.{name}, which is not a class of diffusers or "
                "transformers. Use a base model of their classes."
            )
        kinds[part] = kind
    return kinds


def _find(settings: PipelineSettings, offline: bool | None) -> dict[str, Found]:
    """Find every part before loading any, so that a missing one fails at once."""
    patterns = pipeline_patterns(settings.variant)
    with about("base", settings.base):
        found = {"base": resolve(settings.base, offline=offline, patterns=patterns)}
    for number, control in enumerate(settings.controls):
        if control.weights is not None:
            with about(f"controls[{number}].weights", control.weights):
                found[f"control_{number}"] = _net(control.weights, offline)
    return found


def _net(weights: Weights, offline: bool | None) -> Found:
    return resolve(weights, offline=offline, patterns=("config.json", *weight_patterns(None)))


def _problems(
    settings: PipelineSettings, found_class: PipelineClass, index: dict[str, Any]
) -> Iterator[str]:
    """Yield why a base model does not fit a class, each with advice."""
    for part in NETWORKS:
        annotation = found_class.parts.get(part)
        if annotation is None:
            continue
        held = index.get(part)
        kind = held[1] if isinstance(held, list) and len(held) == 2 else None
        if kind is None:
            yield (
                f"it has no part {part!r}, which {settings.pipeline} needs. Use another base model."
            )
        elif kind not in annotation:
            yield (
                f"it has a {kind} as its {part}; {settings.pipeline} takes {annotation}. Use a "
                "base model of that class, or another `pipeline`."
            )
    if index.get("is_distilled") and settings.guidance is not None:
        yield "it is distilled and ignores guidance: leave `guidance` out."


def _controlnet(
    settings: PipelineSettings,
    found: dict[str, Found],
    found_class: PipelineClass,
    dtype: torch.dtype,
) -> Any:
    """Load the ControlNets: one model, or the class's container of several."""
    models = []
    for number, control in enumerate(settings.controls):
        if control.weights is not None:
            with loading(f"controls[{number}].weights", control.weights):
                models.append(_one_controlnet(found[f"control_{number}"], found_class, dtype))
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
            f"it is a {kind}; {found_class.name} takes {annotation}. Use a ControlNet of that "
            "class."
        )
    return load_network(model, net, "", dtype=dtype, variant=None)


def _quantised(settings: PipelineSettings, found_class: PipelineClass) -> list[str]:
    """Parts that bitsandbytes quantises: the denoiser and the largest text encoder."""
    if not settings.quantisation.startswith("bitsandbytes"):
        return []
    encoders = sorted(part for part in found_class.parts if part.startswith("text_encoder"))
    return [part for part in NETWORKS[:2] if part in found_class.parts] + encoders[-1:]


def _quantisation(settings: PipelineSettings, parts: list[str], dtype: torch.dtype) -> Any:
    """Configuration of bitsandbytes for some parts, or None."""
    if not parts:
        return None
    bits = settings.quantisation.partition("-")[2]
    options: dict[str, Any] = {f"load_in_{bits}": True}
    if bits == "4bit":
        options["bnb_4bit_compute_dtype"] = dtype
    return PipelineQuantizationConfig(
        quant_backend=f"bitsandbytes_{bits}",
        quant_kwargs=options,
        components_to_quantize=parts,
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
