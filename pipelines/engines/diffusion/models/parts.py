"""Parts of the diffusion engine's settings: controls, adapters, feature cache."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from nightrain.datasets.validation import Settings
from nightrain.depthmodel.weights import Weights

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
WITH_ETA: tuple[SchedulerName, ...] = ("ddim", "ddim-trailing", "tcd")
ControlKind = Literal["pose", "depth", "softedge", "canny", "normal", "segment"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Level = Annotated[float, Field(gt=0.0, lt=1.0)]
Gamma = Annotated[float, Field(ge=0.1, le=10.0)]
T = TypeVar("T")


def _form(value: Any) -> str:
    return "[several]" if isinstance(value, list | tuple) else "[one]"


# One mapping or a list of them. The tags' brackets keep them out of error messages.
OneOrSeveral = Annotated[
    Annotated[T, Tag("[one]")] | Annotated[tuple[T, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(_form),
]


def as_several(value: T | tuple[T, ...] | None) -> tuple[T, ...]:
    """Return the values of a setting that is nothing, one value or several."""
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


def numbered(key: str, values: Sequence[T]) -> Iterator[tuple[str, str, T]]:
    """Yield the part, the recipe's key and the value of each of one or several."""
    if len(values) == 1:
        yield key, key, values[0]
        return
    for number, value in enumerate(values):
        yield f"{key}_{number}", f"{key}[{number}]", value


class Control(Settings):
    """One ControlNet; a request's control images are in the order of the settings' controls."""

    weights: Weights = Field(description="ControlNet")
    kind: ControlKind = Field(default="depth", description="Kind of the control image")
    scale: float = Field(default=1.0, ge=0.0, le=2.0, description="Weight of the ControlNet")
    start: Share = Field(default=0.0, description="Start, as a share of the steps that run")
    end: Share = Field(default=1.0, description="End, as a share of the steps that run")

    @model_validator(mode="after")
    def _ordered(self) -> "Control":
        if self.start >= self.end:
            raise ValueError(f"start {self.start} must be below end {self.end}")
        return self


class IpAdapter(Settings):
    """Image prompt: adapter weights, and the CLIP encoder of the style image.

    Several adapters share the style image and its encoder; each has its own scale.
    """

    weights: Weights = Field(description="Model that contains the file")
    file: str = Field(default="ip-adapter_sd15.safetensors", description="File of the adapter")
    image_encoder: Weights = Field(description="CLIP encoder of the style image")
    scale: float = Field(default=0.5, ge=0.0, le=2.0, description="Weight of the style image")


class Lora(Settings):
    """Low-rank change of the UNet and its text encoders, added when the weights are loaded."""

    weights: Weights = Field(description="Model that contains the file")
    file: str = Field(default="pytorch_lora_weights.safetensors", description="File of the LoRA")
    scale: float = Field(default=1.0, ge=-2.0, le=2.0, description="Factor of the change")


class FeatureCache(Settings):
    """Feature cache: at some steps the UNet reuses the output of its inner levels.

    DeepCache (arXiv 2312.00858), by diffusers' TaylorSeer hooks. Steps before `start`, from `end`
    on, and every `interval`-th step between them are run in full. For SD1.5 with one ControlNet at
    768x448, with guidance, the other steps cost 42 % of a full one (1.23 of 2.95 TFLOP, counted).
    """

    interval: int = Field(
        default=2, ge=2, le=10, description="Steps from one full step to the next"
    )
    start: Share = Field(default=0.1, description="Start, as a share of the whole schedule")
    end: Share = Field(default=1.0, description="End, as a share of the whole schedule")

    @model_validator(mode="after")
    def _ordered(self) -> "FeatureCache":
        if self.start > self.end:
            raise ValueError(f"start {self.start} must not be above end {self.end}")
        return self


class NightBrightness(Settings):
    """Brightness step of SSD: night images get mean levels like those of real nights."""

    levels: Literal["style"] | tuple[Level, ...] = Field(
        default="style",
        description="Mean level, 0 to 1: that of the style image, or drawn from evenly spaced "
        "quantiles of real nights, which `nightrain styles` measures",
    )
    gamma: tuple[Gamma, Gamma] = Field(
        default=(0.5, 3.0), description="Smallest and largest gamma; below 1 brightens"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "NightBrightness":
        for name, values in (("levels", self.levels), ("gamma", self.gamma)):
            numbers = () if isinstance(values, str) else values
            if list(numbers) != sorted(numbers) or not values:
                raise ValueError(f"{name}: expected numbers in ascending order, found {values}")
        return self
