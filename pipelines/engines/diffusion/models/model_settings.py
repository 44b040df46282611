"""Settings of the diffusion engine's models: base, autoencoder, controls, adapters, LoRAs."""

import operator
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.models.families import FAMILIES, Family
from nightrain.pipelines.engines.diffusion.models.parts import (
    Control,
    IpAdapter,
    Lora,
    OneOrSeveral,
    as_several,
    numbered,
)
from nightrain.pipelines.engines.engine_settings import EngineSettings


class ModelSettings(EngineSettings):
    """Models that are loaded together, each by its key in a recipe."""

    family: Family = Field(default="sd15", description="Family of the base model")
    base: Weights = Field(
        default=Weights(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        ),
        description="Base model",
    )
    base_config: Weights | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Model that a base in a single file takes its configuration and tokenizers "
        "from; null: the family's",
    )
    variant: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,20}$")] | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Variant of the models' files, such as fp16, where they have it; null: none",
    )
    vae: Weights | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Autoencoder in place of the base model's",
    )
    controls: tuple[Control, ...] = Field(
        default=(
            Control(
                weights=Weights(
                    "lllyasviel/control_v11f1p_sd15_depth",
                    "539f99181d33db39cf1af2e517cd8056785f0a87",
                )
            ),
        ),
        description="ControlNets, which keep the frame's geometry",
    )
    allow_no_control: bool = Field(
        default=False,
        exclude_if=operator.not_,
        description="Accept that no control, or a control without effect, keeps the geometry; the "
        "rows say so",
    )
    ip_adapter: OneOrSeveral[IpAdapter] | None = Field(
        default=None,
        description="Image prompt: a real image of the condition as style; one adapter or a list",
    )
    lora: OneOrSeveral[Lora] | None = Field(
        default=None, description="LoRA that is added to the base model; one or a list"
    )
    safety_checker: bool = Field(
        default=False, description="Reject images that the model's safety checker flags"
    )
    tiny_decoder: Weights | None = Field(
        default=None, description="Small decoder of latents, faster and less sharp"
    )

    @model_validator(mode="after")
    def _one_encoder(self) -> "ModelSettings":
        if len({adapter.image_encoder for adapter in self.ip_adapters}) > 1:
            raise ValueError(
                "ip_adapter: several adapters share one image_encoder; give each the same"
            )
        return self

    @property
    def ip_adapters(self) -> tuple[IpAdapter, ...]:
        """IP-Adapters, in order; their scales add up."""
        return as_several(self.ip_adapter)

    @property
    def loras(self) -> tuple[Lora, ...]:
        """LoRAs, in order; their changes add up."""
        return as_several(self.lora)

    @property
    def config_of_base(self) -> Weights | None:
        """Model with the configuration of a single-file base; None for a base that is a folder."""
        return (self.base_config or FAMILIES[self.family].config) if self.base.is_file else None

    def require_single_file_options(self) -> None:
        """Raise InvalidRequest for options that a base in a single file cannot have."""
        file = self.base.id_or_folder
        if self.config_of_base is None:
            raise InvalidRequest(
                f"`base` ({file}) is a single file, without configuration and tokenizers; the "
                f"family {self.family!r} has no public ones. Name a folder or hub model with them "
                "as `base_config`."
            )
        if self.safety_checker:
            raise InvalidRequest(
                f"`safety_checker`: `base` ({file}) is a single file, which has none. Leave it "
                "out, or use a base in diffusers' layout."
            )

    def all_weights(self) -> list[Weights]:
        """Return the weights of every model that is loaded."""
        return [weights for _, weights in self.weights_by_key()]

    def weights_by_key(self) -> Iterator[tuple[str, Weights]]:
        """Yield the recipe's key and the weights of every model that is loaded."""
        yield "base", self.base
        for number, control in enumerate(self.controls):
            yield f"controls[{number}].weights", control.weights
        for _, key, adapter in numbered("ip_adapter", self.ip_adapters):
            yield f"{key}.weights", adapter.weights
            yield f"{key}.image_encoder", adapter.image_encoder
        for _, key, lora in numbered("lora", self.loras):
            yield f"{key}.weights", lora.weights
        further = {
            "tiny_decoder": self.tiny_decoder,
            "vae": self.vae,
            "base_config": self.config_of_base,
        }
        yield from ((key, weights) for key, weights in further.items() if weights)
