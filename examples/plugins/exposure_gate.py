"""A gate in a package of its own: rejects variants that are nearly black. See pyproject.toml."""

from typing import Literal

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Gate, GateAccepted, GateRejected, GateSettings


class ExposureSettings(GateSettings):
    """Settings of the gate: an entry of a recipe's list `gates`."""

    name: Literal["exposure"] = "exposure"
    lowest: float = 8.0  # mean level, 0 to 255

    def version(self) -> str:
        """Return the version; raise it whenever an equal variant gets another verdict."""
        return "1"

    def build(self) -> Gate:
        """Return the check."""
        return self._judge

    def _judge(self, request: Request, variant: Variant) -> GateAccepted | GateRejected:
        mean = float(variant.image.mean())
        if mean < self.lowest:
            return GateRejected(f"mean level {mean:.1f}, expected at least {self.lowest:.1f}")
        return GateAccepted(confidence=min(1.0, mean / (4 * self.lowest)))
