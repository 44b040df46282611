"""Settings of the diffusion engine: models, controls, guidance, scheduler, precision."""

import hashlib
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from nightrain.datasets.conditions import PROMPTED_CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.marks import FROM_RECORDING, TRAINED, SourceType
from nightrain.depthmodel.weights import weights_names
from nightrain.pipelines.controls.settings import ControlDepth, require_control_kinds
from nightrain.pipelines.engines.diffusion.models.families import (
    FAMILIES,
    Capabilities,
    generation_size,
    require_generation_size,
)
from nightrain.pipelines.engines.diffusion.models.model_settings import ModelSettings
from nightrain.pipelines.engines.diffusion.models.parts import (
    WITH_ETA,
    FeatureCache,
    NightBrightness,
    SchedulerName,
    Share,
)
from nightrain.pipelines.engines.diffusion.models.windows import (
    NOT_CONTROLLED,
    all_act,
    num_kept,
    require_every_control,
    steps_of_controls,
)
from nightrain.pipelines.engines.engine_settings import (
    ConditioningInputs,
    Size,
    at_width,
)
from nightrain.pipelines.engines.strengths import (
    BY_CONDITION,
    STRENGTH,
    Strengths,
    all_strengths,
    check_strengths,
)

NEGATIVE_PROMPT = "lowres, blurry, distorted, cartoon, painting, text, watermark"
VERSION = "1"  # increased when the same request and settings give other bytes


class DiffusionSettings(ModelSettings):
    """Settings of the diffusion engine: together with the request, they determine an image."""

    name: Literal["diffusion"] = "diffusion"  # pyright: ignore[reportIncompatibleVariableOverride]
    engine_class: ClassVar[str] = "nightrain.pipelines.engines.diffusion.engine:DiffusionEngine"
    conditions: ClassVar[tuple[Condition, ...]] = PROMPTED_CONDITIONS
    uses_gpu: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("torch", "diffusers", "transformers")

    mode: Literal["text2image", "image2image"] = Field(
        default="text2image", description="Start from noise, or from the noised clear image"
    )
    strength: Strengths = Field(default=(0.4, 0.9), description=STRENGTH)
    strength_by_condition: dict[Condition, Strengths] = Field(
        default_factory=dict, exclude_if=lambda value: not value, description=BY_CONDITION
    )
    scheduler: SchedulerName = Field(default="unipc", description="Sampler of the denoising steps")
    steps: int = Field(default=30, ge=1, le=1000, description="Denoising steps")
    eta: Share = Field(
        default=0.0,
        exclude_if=operator.not_,
        description="Noise added at each step: ddim, 0 to 1; tcd, its gamma",
    )
    guidance: float = Field(
        default=7.5, ge=0.0, le=30.0, description="Scale of guidance; up to 1: no guidance"
    )
    negative_prompt: Annotated[str, Field(max_length=2000)] | None = Field(
        default=NEGATIVE_PROMPT,
        description="Prompt that guidance leads away from; null: none, which SDXL takes as zeros",
    )
    style_pool: str | None = Field(
        default=None,
        description="Folder of real images, one folder per condition: night/*.jpg; relative to the "
        "dataset's folder",
    )
    night_brightness: NightBrightness | None = Field(
        default=None, description="Brightness of night images, after real ones; null: unchanged"
    )
    decode_batch_size: int = Field(
        default=4, ge=1, le=256, description="Images decoded from latents together"
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the networks"
    )
    channels_last: bool = Field(default=False, description="Memory format that suits tensor cores")
    compile: Literal["off", "default", "max-autotune"] = Field(
        default="off", description="Mode of torch.compile for the UNet"
    )
    generation_width: Annotated[int, Field(ge=16, le=8192, multiple_of=8)] | None = Field(
        default=None,
        description="Width of the generated image, with the frame's aspect, a multiple of 8 "
        "pixels; null: the family's own size",
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
    # Faster, at the price of different images:
    guidance_until: Share = Field(
        default=1.0, description="Share of the steps that run after which there is no guidance"
    )
    feature_cache: FeatureCache | None = Field(
        default=None, description="Reuse of the UNet's inner features at some steps"
    )

    _dataset: Path | None = PrivateAttr(default=None)  # folder that `style_pool` is relative to

    @model_validator(mode="after")
    def _checks(self) -> "DiffusionSettings":
        is_used = self.mode == "image2image"
        check_strengths(self, self.steps if is_used else None)
        if self.eta > 0 and self.scheduler not in WITH_ETA:
            raise ValueError(
                f"eta has no effect on {self.scheduler}, only on {', '.join(WITH_ETA)}"
            )
        by_style = self.night_brightness is not None and self.night_brightness.levels == "style"
        if by_style and not self.ip_adapters:
            raise ValueError("night_brightness: levels 'style' needs an ip_adapter; give quantiles")
        if self.feature_cache is not None and self._clashes_with_cache:
            raise ValueError(f"feature_cache cannot be combined with {self._clashes_with_cache}")
        return self

    @property
    def _clashes_with_cache(self) -> str:
        """Option that rules out a feature cache, with the reason; "" if there is none."""
        if self.compile != "off":
            return "compile: a compiled graph is fixed, but the layers that run vary by step"
        if self.mode == "image2image":
            return "image2image: rows of a batch that start at different steps skip different ones"
        if self.guided and self.guidance_until < 1.0:
            return "guidance_until: cached features have the guided batch's number of rows"
        return ""

    @property
    def guided(self) -> bool:
        """Whether any step uses classifier-free guidance."""
        return self.guidance > 1.0 and self.guidance_until > 0.0

    @property
    def numbers_of_steps(self) -> range:
        """Numbers of steps that may run: fewer than `steps` at the strengths of image2image."""
        if self.mode == "text2image":
            return range(self.steps, self.steps + 1)
        strengths = [one for of in all_strengths(self) for one in of]
        lowest, highest = (num_kept(self.steps, f(strengths)) for f in (min, max))
        return range(lowest, highest + 1)

    def control_steps(self, num_steps: int) -> tuple[int, ...]:
        """On how many of the steps that run each control acts."""
        return steps_of_controls(self.controls, num_steps)

    @property
    def uses_severity(self) -> bool:
        """Whether severity decides the strength: in image2image."""
        return self.mode == "image2image"

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
        """One control image per ControlNet, and a prompt."""
        return ConditioningInputs(
            controls=tuple(control.kind for control in self.controls),
            control_depth=self.control_depth,
            captioner=self.captioner,
            varied_prompts=self.varied_prompts,
            style_pool=self.pool_folder,
        )

    def for_dataset(self, root: Path) -> "DiffusionSettings":
        """Return the settings with a relative `style_pool` below a dataset's folder.

        The settings' values, and so their hash, stay the same wherever the dataset is.
        """
        if self.style_pool is None or Path(self.style_pool).expanduser().is_absolute():
            return self
        placed = self.model_copy()
        placed._dataset = root.absolute()
        return placed

    @property
    def pool_folder(self) -> Path | None:
        """Folder of `style_pool`; a relative one is below the dataset, if it is known."""
        if self.style_pool is None:
            return None
        return (self._dataset or Path.cwd()) / Path(self.style_pool).expanduser()

    def working_size(self, frame_size: Size) -> Size:
        """Return the size of generated images: `generation_width`, or the family's own size."""
        if self.generation_width is not None:
            return at_width(self.generation_width, frame_size)
        return generation_size(frame_size, self.family)

    def require_frame_size(self, frame_size: Size) -> None:
        """Raise InvalidRequest if the family cannot generate images of frames of a size."""
        require_generation_size(self.working_size(frame_size), self.family)

    def preflight(self, engine: Any, conditions: Sequence[Condition]) -> None:
        """Load the models, adapter and style images; raises InvalidRequest."""
        engine.preflight(conditions)

    @property
    def warnings(self) -> Sequence[str]:
        """A sentence if nothing keeps the frame's geometry, although `allow_no_control`."""
        return () if all_act(self.controls, self.numbers_of_steps) else (NOT_CONTROLLED,)

    def version(self, condition: Condition) -> str:
        """Return the engine's version with a digest of weights, depth source and style images.

        Raises InvalidRequest for settings that the family does not support and for weights that are
        neither local nor pinned.
        """
        from nightrain.pipelines.controls.load_source import load_depth_source
        from nightrain.pipelines.engines.diffusion.models.styles import StylePool

        self.require_family()
        require_control_kinds(control.kind for control in self.controls)
        if not self.allow_no_control:
            require_every_control(self.controls, self.numbers_of_steps)
        if self.ip_adapters and self.style_pool is None:
            raise InvalidRequest(
                "`ip_adapter` needs a `style_pool`: a folder with real images in a folder per "
                f"condition, such as {condition}/*.jpg. One of them is the style of each variant."
            )
        names = list(weights_names(self.weights_by_key()))
        names.append(load_depth_source(self.control_depth).name)
        if self.pool_folder is not None:
            names.append(StylePool(self.pool_folder).digest(condition))
        names += [*self._changed_since_version, *self.conditioning.changed_captions]
        return f"{VERSION}-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:12]}"

    @property
    def _changed_since_version(self) -> list[str]:
        """Changes of the bytes since VERSION that only settings like these meet."""
        image2image = self.mode == "image2image"
        windows = {(c.start, c.end) for c in self.controls} - {(0.0, 1.0)}
        cut_off = self.guided and self.guidance_until < 1.0
        sdxl = FAMILIES[self.family].pipeline == "StableDiffusionXLPipeline"
        changes = {
            "windows are shares of the steps that run": image2image and bool(windows or cut_off),
            "the clear image is rounded once": image2image and self.dtype != "float32",
            "eta is a setting": self.scheduler == "tcd",
            "an empty negative prompt is encoded": sdxl
            and self.guided
            and self.negative_prompt == "",
        }
        return [change for change, met in changes.items() if met]

    def require_family(self) -> Capabilities:
        """Return the family's capabilities; raises InvalidRequest for settings beyond them."""
        can = FAMILIES[self.family]
        lacking = self._lacking(can)
        if lacking:
            able = [name for name, other in FAMILIES.items() if not self._lacking(other)]
            hint = "" if can.negative_prompt else " Its guidance must be 1 or less."
            raise InvalidRequest(
                f"The family {self.family!r} does not offer: {', '.join(lacking)}.{hint} "
                f"Families that do: {', '.join(able) or 'none'}."
            )
        if can.one_net and len({c.weights for c in self.controls}) > 1:
            raise InvalidRequest(
                "The family 'sdxl-union' serves every control with one network: give the same "
                "weights to each of its controls, or use the family 'sdxl'."
            )
        if can.one_net and len({c.kind for c in self.controls}) < len(self.controls):
            raise InvalidRequest("The family 'sdxl-union' accepts each kind of control once.")
        if self.base.is_file:
            self.require_single_file_options()
        elif self.base_config is not None:
            raise InvalidRequest(
                f"`base_config` ({self.base_config.id_or_folder}) is for a `base` in a single "
                f"file; {self.base.id_or_folder} has its own configuration. Leave it out."
            )
        if self.style_pool and not self.ip_adapters:
            raise InvalidRequest("style_pool needs an ip_adapter, which encodes the style images.")
        return can

    def _lacking(self, can: Capabilities) -> list[str]:
        """Features that the settings use but the family lacks."""
        features = {
            "a ControlNet": (bool(self.controls), can.controlnet),
            "several controls": (len(self.controls) > 1, can.several_controls),
            "image2image with a strength": (self.mode == "image2image", can.strength),
            "an IP-Adapter": (bool(self.ip_adapters), can.ip_adapter),
            "a safety checker": (self.safety_checker, can.safety_checker),
            "guidance with a negative prompt": (self.guided, can.negative_prompt),
            f"{self.steps} steps": (self.steps > can.most_steps, False),
        }
        return [name for name, (used, offered) in features.items() if used and not offered]
