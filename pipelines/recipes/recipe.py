"""A recipe: everything that decides the bytes of a variant. Its hash names the output folder."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.controls.control_depth import ControlDepth
from nightrain.pipelines.engines.diffusion.models.families import generation_size
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings

MAX_RECIPE_BYTES = 1_000_000
ADDED_LATER = {  # fields with the value that changes nothing
    "without_depth": "quarantine",
    "diffusion": None,
    "generation_width": None,
    "control_depth": None,
    "captioner": "metadata",
    "varied_prompts": False,
    "diffusion.feature_cache": None,
    "control_depth.teacher": None,
}
Severity = Annotated[float, Field(ge=0.0, le=1.0)]


class SeverityRange(BaseModel):
    """Each sample's severity is drawn evenly from [lowest, highest] with the sample's seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lowest: Severity = 0.2
    highest: Severity = 0.9

    @model_validator(mode="after")
    def _ordered(self) -> "SeverityRange":
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}")
        return self


class Recipe(BaseModel):
    """What is made of a clear frame. `name` is for people and is not part of the hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    engine: Literal["weather", "diffusion"] = "weather"
    engine_version: str = ""  # filled in when the recipe is loaded: what the engine was
    conditions: dict[Condition, SeverityRange] = Field(min_length=1)
    # (width, height) of a variant; a width alone keeps the frame's aspect; None = the frame's own
    size: tuple[int, int] | int | None = None
    depth: Literal["lidar", "exact"] = "lidar"
    without_depth: Literal["quarantine", "road-plane"] = "quarantine"  # of a frame that has none
    variants_per_frame: int = Field(default=1, ge=1, le=100)
    batch_size: int = Field(default=8, ge=1, le=256)
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    diffusion: DiffusionSettings | None = None  # of the engine of that name
    # Width at which a diffusion engine draws, with the frame's aspect; None = its family's own size
    generation_width: int | None = Field(default=None, ge=16, le=8192)
    control_depth: ControlDepth | None = None  # None: that of `depth`, scaled by its range
    captioner: Literal["metadata", "blip2", "small"] = "metadata"
    varied_prompts: bool = False  # the condition's phrase is drawn by the sample's seed

    @model_validator(mode="after")
    def _checks(self) -> "Recipe":
        if Condition.CLEAR in self.conditions:
            raise ValueError("conditions: 'clear' is what the frames are; nothing is made for it")
        if (self.engine == "diffusion") != (self.diffusion is not None):
            raise ValueError(
                f"engine {self.engine!r}: the section `diffusion` belongs to the engine of that "
                "name and must be there (`diffusion: {}` takes Stable Diffusion 1.5 with depth)"
            )
        sides = () if self.size is None else np.atleast_1d(self.size).tolist()
        if not all(16 <= side <= 8192 for side in sides):
            raise ValueError(f"size {self.size}: width and height must be 16 to 8192 pixels")
        return self

    def size_for(self, native: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the variants of a frame whose own size is `native`.

        A width alone gives the height that keeps the aspect, rounded to whole blocks of 8 pixels.
        """
        if isinstance(self.size, int):
            return at_width(self.size, native)
        return self.size or native

    def working_size(self, native: tuple[int, int]) -> tuple[int, int]:
        """(width, height) at which the engine works: a diffusion model has sizes of its own."""
        if self.diffusion is None:
            return self.size_for(native)
        if self.generation_width is not None:
            return at_width(self.generation_width, native)
        return generation_size(native, self.diffusion)

    @property
    def engine_settings(self) -> DiffusionSettings | None:
        """The settings of the engine; its batches are those of the recipe."""
        if self.diffusion is None:
            return None
        return self.diffusion.model_copy(update={"batch_size": self.batch_size})

    @property
    def depth_settings(self) -> ControlDepth:
        """Where the depth of control images comes from."""
        return self.control_depth or ControlDepth()

    @property
    def shows_depth(self) -> bool:
        """Whether a control image shows depth."""
        return self.diffusion is not None and any(
            control.kind == "depth" for control in self.diffusion.controls
        )

    @property
    def needs_depth(self) -> bool:
        """Whether nothing can be made of a frame without depth of its own."""
        if self.diffusion is None:
            return True
        return self.shows_depth and self.depth_settings.source == "given"

    @property
    def hash(self) -> str:
        """Digest of everything but the name: 16 hex digits.

        A field that came later counts only where it is set: older recipes keep their hash.
        """
        fields = self.model_dump(mode="json", exclude={"name"})
        for name, default in ADDED_LATER.items():
            section, _, field = name.rpartition(".")
            held = fields.get(section) if section else fields
            if held is not None and held[field] == default:
                del held[field]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Name of the recipe's folder below variants/: "weather-1a2b3c4d"."""
        return f"{self.name}-{self.hash[:8]}"

    def table(self, condition: Condition) -> str:
        """Table of the variants of one condition."""
        return f"variants/{self.folder}/{condition}"


def at_width(width: int, native: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of that width and the aspect of `native`, its height in blocks of 8."""
    return width, 8 * max(2, round(width * native[1] / native[0] / 8))


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    folder = resources.files("nightrain.pipelines.recipes")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def load_recipe(name_or_path: str) -> Recipe:
    """Load a built-in recipe by name or a YAML file by path; raises InvalidRequest."""
    from nightrain.pipelines.recipes.engine_registry import engine_version

    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InvalidRequest(f"There is no recipe file {path}.")
    elif name_or_path in built_in_recipes():
        path = Path(str(resources.files("nightrain.pipelines.recipes") / f"{name_or_path}.yaml"))
    else:
        raise InvalidRequest(
            f"There is no recipe {name_or_path!r}. Built in: {', '.join(built_in_recipes())}. "
            "Give one of these or the path of a .yaml file."
        )
    recipe = _parse(path)
    return recipe.model_copy(update={"engine_version": engine_version(recipe)})


def _parse(path: Path) -> Recipe:
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InvalidRequest(f"{path} has {path.stat().st_size} bytes; no recipe is that long.")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'recipe'}: {e['msg']}"
            for e in error.errors()
        )
        raise InvalidRequest(f"{path} is no recipe. {problems}") from error
