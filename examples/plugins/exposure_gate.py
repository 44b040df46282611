"""A gate in a package of its own: rejects variants that are nearly black. See pyproject.toml."""

from collections.abc import Iterator, Mapping
from typing import Literal

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Gate, GateSettings, Measured, Rejection


class ExposureSettings(GateSettings):
    """Settings of the gate: an entry of a recipe's list `gates`."""

    name: Literal["exposure"] = "exposure"
    lowest: float = 8.0  # mean level, 0 to 255

    def version(self) -> str:
        """Return the version; raise it whenever an equal variant gets other scores."""
        return "1"

    def build(self) -> Gate:
        """Return what measures a variant; its scores are stored."""
        return measure

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield why the scores are beyond the limits; nothing accepts the variant."""
        if scores["mean"] < self.lowest:
            reason = f"mean level {scores['mean']:.1f}, expected at least {self.lowest:.1f}"
            yield Rejection("dark", reason)


def measure(request: Request, variant: Variant) -> Measured:
    """Measure the mean level of a variant."""
    return Measured({"mean": float(variant.image.mean())})
