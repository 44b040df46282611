"""What a recipe says to the diffusion engine: models, guidance, scheduler, precision."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nightrain.depthmodel.weights import Weights

NEGATIVE_PROMPT = "lowres, blurry, distorted, cartoon, painting, text, watermark"
VERSION = "1"  # raised when the same request and settings give other bytes
Family = Literal["sd15", "sd21", "sd-turbo", "sdxl", "sdxl-turbo", "sdxl-union"]
SchedulerName = Literal[
    "ddim",
    "ddim-trailing",
    "unipc",
    "dpmpp-2m",
    "dpmpp-2m-karras",
    "euler",
    "euler-trailing",
    "euler-ancestral",
    "lcm",
    "tcd",
]
ControlKind = Literal["pose", "depth", "softedge", "canny", "normal", "segment"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Control(_Part):
    """One ControlNet; a request's control images come in the order of the settings' controls."""

    weights: Weights
    kind: ControlKind = "depth"
    scale: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    start: Share = 0.0  # of the whole schedule of steps
    end: Share = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "Control":
        if self.start >= self.end:
            raise ValueError(f"start {self.start} must be below end {self.end}")
        return self


class IpAdapter(_Part):
    """The image prompt: adapter weights, and the CLIP encoder that sees the style image."""

    weights: Weights  # the folder that holds the file
    file: str = "ip-adapter_sd15.safetensors"
    image_encoder: Weights
    scale: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5


class Lora(_Part):
    """A low-rank change of the UNet, added to its weights when they are loaded."""

    weights: Weights
    file: str = "pytorch_lora_weights.safetensors"
    scale: Annotated[float, Field(ge=-2.0, le=2.0)] = 1.0


class FeatureCache(_Part):
    """Steps at which the inner levels of the UNet are not run: what they gave before is used again.

    DeepCache (arXiv 2312.00858), by diffusers' TaylorSeer hooks. Whole steps are run before `start`
    and from `end` on, and every `interval`-th step between them. Of SD1.5 with one ControlNet at
    768x448, guided, the other steps cost 42 % of a whole one (1.23 of 2.95 TFLOP, counted).
    """

    interval: Annotated[int, Field(ge=2, le=10)] = 2
    start: Share = 0.1  # of the whole schedule
    end: Share = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "FeatureCache":
        if self.start > self.end:
            raise ValueError(f"start {self.start} must not be above end {self.end}")
        return self


class DiffusionSettings(_Part):
    """Everything that decides a picture of this engine beside the request itself."""

    family: Family = "sd15"
    base: Weights = Weights(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    )
    controls: tuple[Control, ...] = (
        Control(
            weights=Weights(
                "lllyasviel/control_v11f1p_sd15_depth", "539f99181d33db39cf1af2e517cd8056785f0a87"
            )
        ),
    )
    ip_adapter: IpAdapter | None = None
    lora: Lora | None = None
    mode: Literal["text2image", "image2image"] = "text2image"
    strength: tuple[Share, Share] = (0.4, 0.9)  # image2image: at severity 0 and at severity 1
    scheduler: SchedulerName = "unipc"
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    guidance: Annotated[float, Field(ge=0.0, le=30.0)] = 7.5  # up to 1: none
    negative_prompt: Annotated[str, Field(max_length=2000)] = NEGATIVE_PROMPT
    style_pool: str | None = None  # folder of real images: <style_pool>/night/*.jpg
    night_level: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None  # mean of a night image
    safety_checker: bool = False
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    decode_batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: Literal["off", "default", "max-autotune"] = "off"
    # Lossy: faster, and other pictures.
    guidance_until: Share = 1.0  # of the whole schedule; no guidance after it
    tiny_decoder: Weights | None = None
    feature_cache: FeatureCache | None = None

    @model_validator(mode="after")
    def _checks(self) -> "DiffusionSettings":
        lowest, highest = self.strength
        if lowest > highest:
            raise ValueError(f"strength: {lowest} at severity 0 is above {highest} at severity 1")
        if self.mode == "image2image" and int(self.steps * lowest) < 1:
            raise ValueError(
                f"{self.steps} steps at strength {lowest} make no step at all: steps x strength "
                "must be at least 1"
            )
        if self.feature_cache is not None and self._clashes_with_cache:
            raise ValueError(f"feature_cache cannot be combined with {self._clashes_with_cache}")
        return self

    @property
    def _clashes_with_cache(self) -> str:
        """What the kept features are at odds with, in words; empty where nothing is."""
        if self.compile != "off":
            return "compile: which layers run changes from step to step, a compiled graph is fixed"
        if self.mode == "image2image":
            return "image2image: a batch whose rows begin at different steps has no common rhythm"
        if self.guided and self.guidance_until < 1.0:
            return "guidance_until: what was kept has as many rows as the guided batch"
        return ""

    def all_weights(self) -> list[Weights]:
        """Every model that is loaded."""
        found = [self.base, *(control.weights for control in self.controls)]
        if self.ip_adapter is not None:
            found += [self.ip_adapter.weights, self.ip_adapter.image_encoder]
        return found + [w for w in (self.lora and self.lora.weights, self.tiny_decoder) if w]

    @property
    def guided(self) -> bool:
        """Whether any step uses classifier-free guidance."""
        return self.guidance > 1.0 and self.guidance_until > 0.0
