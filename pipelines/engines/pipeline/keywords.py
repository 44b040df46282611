"""Keywords: which parameter of a pipeline's call takes which field of ours."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.pipeline.pipeline_class import PipelineClass

Field = Literal[
    "prompt",
    "negative_prompt",
    "picture",  # the clear frame
    "strength",
    "control",
    "control_scale",
    "control_start",
    "control_end",
    "guidance",
    "steps",
    "width",
    "height",
    "generator",
]
FIELDS: tuple[Field, ...] = get_args(Field)
USUAL: dict[Field, str] = {
    "picture": "image",
    "control": "control_image",
    "control_scale": "controlnet_conditioning_scale",
    "control_start": "control_guidance_start",
    "control_end": "control_guidance_end",
    "guidance": "guidance_scale",
    "steps": "num_inference_steps",
}
# Set by the engine, or with an effect on what the call returns
RESERVED = (
    "latents",
    "num_images_per_prompt",
    "output_type",
    "return_dict",
    "prompt_embeds",
    "callback_on_step_end",
)


def keywords_of(found: PipelineClass, changes: Mapping[Field, str]) -> dict[Field, str]:
    """Return the keyword of each field that a class has one for; `changes` replace the usual ones.

    Raises InvalidRequest for a keyword that the class does not have.
    """
    for field, keyword in changes.items():
        if keyword not in found.keywords:
            raise InvalidRequest(
                f"keywords.{field}: {found.name} has no keyword {keyword!r}; it has "
                f"{_listed(found.keywords - set(RESERVED))}."
            )
    chosen = {**_usual(found), **changes}
    return {field: chosen[field] for field in FIELDS if chosen[field] in found.keywords}


def check_options(
    found: PipelineClass, keywords: Mapping[Field, str], options: Iterable[str]
) -> None:
    """Raise InvalidRequest for an option that is not a free keyword of a class."""
    taken = {keyword: field for field, keyword in keywords.items()}
    for option in options:
        if option in taken:
            raise InvalidRequest(
                f"options.{option}: the engine passes `{taken[option]}` by this keyword of "
                f"{found.name}; leave the option out."
            )
        if option not in found.keywords or option in RESERVED:
            raise InvalidRequest(
                f"options.{option} is not an option of {found.name}; expected one of "
                f"{_listed(found.keywords - taken.keys() - set(RESERVED))}."
            )


def _usual(found: PipelineClass) -> dict[Field, str]:
    usual: dict[Field, str] = {field: USUAL.get(field, field) for field in FIELDS}
    if found.name.startswith("QwenImage"):  # its guidance_scale is for models distilled with one
        usual["guidance"] = "true_cfg_scale"
    of_control = "ControlNet" in found.name and "control_image" not in found.keywords
    if of_control and "strength" not in found.keywords:  # StableDiffusionControlNetPipeline
        usual["control"], usual["picture"] = "image", ""
    return usual


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
