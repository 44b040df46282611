"""Samples of a family for a measurement: drawn once, saved, and shared by the measures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.strengths import strength_for
from nightrain.pipelines.recipes.recipe_file import read_recipe
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS
from nightrain.pipelines.small_diffusion.measure.frames import Frames
from nightrain.pipelines.small_diffusion.measure.parts import Parts, say
from nightrain.pipelines.small_diffusion.sampling import Drawing, Sampler, Sampling

RECIPE = "diffusion-world"
SEED = 7000  # of the first sample of the first condition
SEEDS_PER_SET = 1000
Mode = Literal["text2image", "image2image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeNumbers:
    """Sampling settings of the recipe, at the middle of its severities."""

    steps: int
    guidance: float
    strength: float
    lowest: float
    highest: float

    @classmethod
    def read(cls, name: str = RECIPE) -> "RecipeNumbers":
        """Read them from a built-in recipe of the diffusion engine."""
        recipe = read_recipe(name)
        engine = recipe.engine
        if not isinstance(engine, DiffusionSettings):
            raise InvalidRequest(f"The recipe {name} does not use the diffusion engine.")
        severities = recipe.conditions[Condition.NIGHT]
        middle = (severities.lowest + severities.highest) / 2
        return cls(
            steps=engine.steps,
            guidance=engine.guidance,
            strength=round(strength_for(engine, Condition.NIGHT, middle), 4),
            lowest=severities.lowest,
            highest=severities.highest,
        )

    def sampling(self, mode: Mode) -> Sampling:
        """Settings of a mode."""
        strength = self.strength if mode == "image2image" else None
        return Sampling(steps=self.steps, guidance=self.guidance, strength=strength)


class Samples:
    """Sample sets of a family folder; sizes follow `count`, the samples of night and of rain."""

    def __init__(
        self, family: Path, frames: Frames, parts: Parts, count: int, device: torch.device
    ) -> None:
        self.family, self.frames, self.parts, self._device = family, frames, parts, device
        self.count = min(count, len(frames))
        self.numbers = RecipeNumbers.read()

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.family, self._device)

    @cached_property
    def _adapted(self) -> Sampler:
        return Sampler(self.family, self._device, adapter=True)

    def size_of(self, condition: Condition) -> int:
        """Number of samples of a condition: `count` of night and rain, a quarter of others."""
        often = condition in (Condition.NIGHT, Condition.RAIN)
        return self.count if often else max(1, self.count // 4)

    def under(self, condition: Condition, mode: Mode) -> np.ndarray:
        """Samples (N, H, W, 3) of the first N frames under a condition, by the recipe."""
        drawings = [self.drawing(n, condition) for n in range(self.size_of(condition))]
        return self.drawn(f"{mode}-{condition}", drawings, self.numbers.sampling(mode))

    def drawing(self, number: int, condition: Condition | None) -> Drawing:
        """Drawing of a frame; its seed depends on frame and condition."""
        place = 0 if condition is None else 1 + CONDITIONS.index(condition)
        return Drawing(
            prompt=self.frames.prompt(number, condition),
            control=self.frames.controls[number],
            seed=SEED + SEEDS_PER_SET * place + number,
            clear=self.frames.true(Condition.CLEAR)[number],
        )

    def styled(
        self, drawings: Sequence[Drawing], styles: Sequence[np.ndarray], scale: float
    ) -> np.ndarray:
        """Samples of drawings with style pictures, by text to image."""
        given = [replace(d, style=style) for d, style in zip(drawings, styles, strict=True)]
        settings = replace(self.numbers.sampling("text2image"), style_scale=scale)
        return self._saved(f"style-{scale:g}", given, settings, adapter=True)

    def drawn(self, name: str, drawings: Sequence[Drawing], settings: Sampling) -> np.ndarray:
        """Samples of drawings, saved under a name."""
        return self._saved(name, drawings, settings, adapter=False)

    def _saved(
        self, name: str, drawings: Sequence[Drawing], settings: Sampling, *, adapter: bool
    ) -> np.ndarray:
        def compute() -> dict[str, np.ndarray]:
            sampler = self._adapted if adapter else self._sampler
            return {"images": sampler.draw(drawings, settings, report)}

        def report(done: int) -> None:
            say(f"  {name}: {done}/{len(drawings)}")

        return self.parts.arrays(name, compute)["images"]

    def facts(self) -> dict[str, Any]:
        """Settings of the samples."""
        return {"recipe": asdict(self.numbers), "samples": self.count, "seed": SEED}
