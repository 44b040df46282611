"""Settings of the pipeline engine: a pipeline class of diffusers, its models and its inputs."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from nightrain.datasets.conditions import PROMPTED_CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.marks import FROM_RECORDING, TRAINED, SourceType
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.weights import Weights, weights_names
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.engines.diffusion.models.windows import (
    NOT_CONTROLLED,
    all_act,
    num_kept,
    require_every_control,
    steps_of_controls,
)
from nightrain.pipelines.engines.engine_settings import (
    ConditioningInputs,
    EngineSettings,
    Size,
    at_width,
)
from nightrain.pipelines.engines.pipeline.keywords import Field as InputField
from nightrain.pipelines.engines.pipeline.keywords import check_options, keywords_of
from nightrain.pipelines.engines.pipeline.pipeline_class import PipelineClass, pipeline_class
from nightrain.pipelines.engines.strengths import (
    BY_CONDITION,
    STRENGTH,
    Strengths,
    check_strengths,
)

VERSION = "1"  # increased when the same request and settings give other bytes
MULTIPLE = 16  # pixels per latent, 8, times a transformer's patches of 2x2 latents
Share = Annotated[float, Field(ge=0.0, le=1.0)]
QUANTISERS = {"bitsandbytes-8bit": "bitsandbytes", "bitsandbytes-4bit": "bitsandbytes"}


class PipelineControl(Settings):
    """One control image of the pipeline."""

    weights: Weights | None = Field(
        default=None, description="ControlNet; null: the base model itself takes the control image"
    )
    kind: Literal["depth", "canny", "softedge"] = Field(
        default="depth", description="Kind of the control image"
    )
    scale: float = Field(default=1.0, ge=0.0, le=2.0, description="Weight of the control")
    start: Share = Field(default=0.0, description="Start, as a share of the steps that run")
    end: Share = Field(default=1.0, description="End, as a share of the steps that run")

    @model_validator(mode="after")
    def _ordered(self) -> "PipelineControl":
        if self.start >= self.end:
            raise ValueError(f"start {self.start} must be below end {self.end}")
        return self


class PipelineSettings(EngineSettings):
    """Settings of the pipeline engine: together with the request, they determine an image."""

    name: Literal["pipeline"] = "pipeline"  # pyright: ignore[reportIncompatibleVariableOverride]
    engine_class: ClassVar[str] = "nightrain.pipelines.engines.pipeline.engine:PipelineEngine"
    conditions: ClassVar[tuple[Condition, ...]] = PROMPTED_CONDITIONS
    uses_gpu: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("torch", "diffusers", "transformers")

    pipeline: str = Field(
        pattern=r"^[A-Z]\w*Pipeline$", description="Pipeline class of diffusers, by name"
    )
    base: Weights = Field(description="Base model, in the layout of diffusers")
    variant: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,20}$")] | None = Field(
        default=None, description="Variant of the base model's files, such as fp16; null: none"
    )
    controls: tuple[PipelineControl, ...] = Field(
        default=(), description="Control images, which keep the frame's geometry"
    )
    allow_no_control: bool = Field(
        default=False, description="Accept images that no control image ties to the geometry"
    )
    mode: Literal["text2image", "image2image", "reference"] = Field(
        default="text2image",
        description="Use of the clear image: none, as the start of denoising, or as a reference",
    )
    strength: Strengths = Field(default=(0.4, 0.9), description=STRENGTH)
    strength_by_condition: dict[Condition, Strengths] = Field(
        default_factory=dict, exclude_if=lambda value: not value, description=BY_CONDITION
    )
    steps: int = Field(default=28, ge=1, le=1000, description="Denoising steps")
    guidance: Annotated[float, Field(ge=0.0, le=100.0)] | None = Field(
        default=None, description="Scale of guidance; null: the class's default"
    )
    negative_prompt: str = Field(
        default="", max_length=2000, description="Prompt that guidance leads away from; '': none"
    )
    keywords: dict[InputField, str] = Field(
        default={}, description="Keyword of the class per field of ours, where not the usual one"
    )
    options: dict[str, JsonValue] = Field(
        default={}, description="Further keywords of the call, the same for every image"
    )
    one_by_one: bool = Field(
        default=False, description="Call the pipeline for one image at a time, never for a batch"
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="bfloat16", description="Precision of the networks"
    )
    offload: Literal["off", "model", "sequential"] = Field(
        default="off", description="Keep in GPU memory: all models, one model, or one layer"
    )
    quantisation: Literal["off", "float8", "bitsandbytes-8bit", "bitsandbytes-4bit"] = Field(
        default="off", description="Storage of the largest networks' weights"
    )
    generation_width: int = Field(
        default=1024,
        ge=MULTIPLE,
        le=8192,
        multiple_of=MULTIPLE,
        description="Width of the generated image, with the frame's aspect, pixels",
    )
    control_depth: ControlDepth = Field(
        default=ControlDepth(), description="Depth that control images of the kind depth show"
    )
    captioner: Literal["metadata", "blip2", "small"] = Field(
        default="metadata",
        description="Captions in the prompt: counts of the annotated objects in view, or a "
        "network's words",
    )
    varied_prompts: bool = Field(
        default=False, description="Draw the condition's phrase with the sample's seed"
    )

    @model_validator(mode="after")
    def _checks(self) -> "PipelineSettings":
        check_strengths(self, self.steps if self.mode == "image2image" else None)
        return self

    @property
    def source_type(self) -> SourceType:
        """A recording that a trained model changed, or what it drew itself."""
        return TRAINED if self.mode == "text2image" else FROM_RECORDING

    @property
    def needs_depth(self) -> bool:
        """Whether a control image shows the frame's own depth."""
        return self.conditioning.depth_is_given

    @property
    def conditioning(self) -> ConditioningInputs:
        """One image per control, and a prompt."""
        return ConditioningInputs(
            controls=tuple(control.kind for control in self.controls),
            control_depth=self.control_depth,
            captioner=self.captioner,
            varied_prompts=self.varied_prompts,
        )

    def working_size(self, frame_size: Size) -> Size:
        """Return the size of generated images, with both sides divisible by 16."""
        return at_width(self.generation_width, frame_size, MULTIPLE)

    def preflight(self, engine: Any, conditions: Sequence[Condition]) -> None:
        """Load the pipeline; raises InvalidRequest."""
        _ = engine.loaded

    @property
    def warnings(self) -> Sequence[str]:
        """A sentence if nothing keeps the frame's geometry, although `allow_no_control`."""
        return () if all_act(self.controls, self._numbers_of_steps) else (NOT_CONTROLLED,)

    @property
    def uses_severity(self) -> bool:
        """Whether severity decides the strength: in image2image."""
        return self.mode == "image2image"

    def num_steps(self, severity: float) -> int:
        """Number of steps that run at a severity: fewer than `steps` in image2image."""
        lowest, highest = self.strength
        if self.mode != "image2image":
            return self.steps
        return num_kept(self.steps, lowest + (highest - lowest) * severity)

    def control_steps(self, num_steps: int) -> tuple[int, ...]:
        """On how many of the steps that run each control acts."""
        return steps_of_controls(self.controls, num_steps)

    @property
    def _numbers_of_steps(self) -> range:
        return range(self.num_steps(0.0), self.num_steps(1.0) + 1)

    def all_weights(self) -> list[Weights]:
        """Return the weights of every model that is loaded."""
        return [weights for _, weights in self.weights_by_key()]

    def weights_by_key(self) -> Iterator[tuple[str, Weights]]:
        """Yield the recipe's key and the weights of every model that is loaded."""
        yield "base", self.base
        for number, control in enumerate(self.controls):
            if control.weights is not None:
                yield f"controls[{number}].weights", control.weights

    @property
    def calls_one_by_one(self) -> bool:
        """Whether each call makes one image, because its inputs cannot be a batch."""
        # A reference, or a list of controls, is shared by the images of a call, and so is strength.
        shared = self.mode != "text2image" or len(self.controls) > 1
        return self.one_by_one or shared or pipeline_class(self.pipeline).draws_unseeded

    def version(self, condition: Condition) -> str:
        """Return the engine's version with a digest of weights and depth source.

        Raises InvalidRequest for settings that the class does not support and for weights that are
        neither local nor pinned.
        """
        from nightrain.pipelines.controls.load_source import load_depth_source

        if not self.allow_no_control:
            require_every_control(self.controls, self._numbers_of_steps)
        self.require_class()
        names = list(weights_names(self.weights_by_key()))
        names.append(load_depth_source(self.control_depth).name)
        names += self.conditioning.changed_captions
        return f"{VERSION}-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:12]}"

    def require_class(self) -> dict[InputField, str]:
        """Return the keyword of each field; raises InvalidRequest for what the class cannot do."""
        found = pipeline_class(self.pipeline)
        keywords = keywords_of(found, self.keywords)
        check_options(found, keywords, self.options)
        problem = next(self._problems(found, keywords), None)
        if problem is not None:
            raise InvalidRequest(f"engine 'pipeline': {self.pipeline} {problem}")
        package = QUANTISERS.get(self.quantisation)
        if package and find_spec(package) is None:
            raise InvalidRequest(
                f"quantisation: {self.quantisation!r} needs the package {package}, which is not "
                "installed. Install it, or use `float8`, which needs none."
            )
        return keywords

    def _problems(self, found: PipelineClass, keywords: dict[InputField, str]) -> Iterator[str]:
        """Yield what the settings ask for but the class cannot do, each with advice."""
        for needed in ("mask_image", "num_frames", "mask"):
            if needed in found.keywords:
                yield f"takes {needed}: it fills masks or makes videos, not images of a frame."
        for field in ("prompt", "generator"):
            if field not in keywords:
                yield f"has no keyword for {field}: name one in `keywords`."
        yield from self._control_problems(found, keywords)
        yield from self._picture_problems(keywords)
        yield from self._guidance_problems(found, keywords)

    def _control_problems(
        self, found: PipelineClass, keywords: dict[InputField, str]
    ) -> Iterator[str]:
        if not self.controls:
            if "controlnet" in found.parts or "control" in keywords:
                yield "needs a control image: add an entry to `controls`."
            return
        if "control" not in keywords:
            yield (
                "has no keyword for a control image: use a class that has one, or name the keyword "
                "in `keywords.control`."
            )
        has_net, several = "controlnet" in found.parts, len(self.controls) > 1
        if several and not found.takes_several_controlnets:
            yield f"takes one control image, not {len(self.controls)}."
        for number, control in enumerate(self.controls):
            where = f"(controls.{number})"
            if has_net and control.weights is None:
                yield f"needs the weights of a ControlNet {where}."
            if not has_net and control.weights is not None:
                yield f"takes no ControlNet {where}: its base model sees the control image itself."
            if control.scale != 1.0 and "control_scale" not in keywords:
                yield f"has no keyword for the scale of a control {where}: leave it out."
            window = (control.start, control.end) != (0.0, 1.0)
            if window and not {"control_start", "control_end"} <= keywords.keys():
                yield f"has no keywords for start and end of a control {where}: leave them out."

    def _picture_problems(self, keywords: dict[InputField, str]) -> Iterator[str]:
        if self.mode != "text2image" and "picture" not in keywords:
            yield f"has no keyword for an input image, which mode {self.mode!r} needs."
        if self.mode == "image2image" and "strength" not in keywords:
            yield "has no keyword for strength: use mode 'reference', or a class with Img2Img."
        if self.mode != "image2image" and "strength" in keywords:
            yield "starts from the clear image: set `mode: image2image`."

    def _guidance_problems(
        self, found: PipelineClass, keywords: dict[InputField, str]
    ) -> Iterator[str]:
        if self.guidance is not None and "guidance" not in keywords:
            yield "has no keyword for guidance: leave it out."
        true_guidance = "true_cfg_scale"
        if self.negative_prompt:
            if "negative_prompt" not in keywords:
                yield "takes no negative prompt: leave `negative_prompt` out."
            elif true_guidance in found.keywords and keywords["guidance"] != true_guidance:
                yield (
                    "is distilled from guidance and ignores a negative prompt: leave "
                    f"`negative_prompt` out, or set `keywords: {{guidance: {true_guidance}}}`."
                )
            elif self.guidance is not None and self.guidance <= self._no_guidance:
                yield (
                    f"ignores the negative prompt at guidance {self.guidance:g}: leave "
                    "`negative_prompt` out, or raise `guidance`."
                )
        elif keywords.get("guidance") == true_guidance and (self.guidance or 2.0) > 1.0:
            yield (
                "has no guidance without a negative prompt: set `negative_prompt: ' '`, or "
                "`guidance: 1`."
            )

    @property
    def _no_guidance(self) -> float:
        """Largest scale at which the class does without guidance."""
        return 0.0 if self.pipeline.startswith("ZImage") else 1.0
