"""An engine in a package of its own: dusk, by a tint and an exposure. See pyproject.toml."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import HostEngine, Request, Variant
from nightrain.pipelines.engines.engine_settings import EngineSettings


class DuskSettings(EngineSettings):
    """Settings of the engine: the section `engine` of a recipe."""

    name: Literal["dusk"] = "dusk"
    warmth: float = 0.35  # share of blue that is lost at severity 1
    engine_class: ClassVar[str] = "dusk_engine:DuskEngine"
    conditions: ClassVar[tuple[Condition, ...]] = (Condition.DUSK,)

    def version(self, condition: Condition) -> str:
        """Return the version; raise it whenever equal requests give other bytes."""
        return "1"

    @property
    def needs_depth(self) -> bool:
        """Frames without depth are accepted."""
        return False


class DuskEngine(HostEngine):
    """Darkens and warms frames; a variant depends on its request alone."""

    def __init__(self, settings: DuskSettings) -> None:
        self.warmth = settings.warmth

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Return one variant per request, in order."""
        return [self._variant(request) for request in requests]

    def _variant(self, request: Request) -> Variant:
        rng = np.random.default_rng(request.seed)  # the only source of randomness
        linear = (request.image / 255.0) ** 2.2
        tint = np.array([1.0, 1.0 - 0.4 * self.warmth, 1.0 - self.warmth])
        linear *= tint**request.severity * 2.0 ** (-3.0 * request.severity)
        linear += rng.normal(0, 0.002, linear.shape)
        image = np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)
        return Variant(image=image, provenance={"warmth": str(self.warmth)})
