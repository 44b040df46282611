"""Lines of the generation benchmark: their names and settings, in the order of measurement.

The exact lines accumulate optimisations. A line named "lossy" changes the images; its settings are
added to the last exact ones. Lines that a cut-off run must have come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.models.parts import Control
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings

Compile = Literal["off", "default", "max-autotune"]
EXACT: dict[str, Any] = {"scheduler": "unipc", "steps": 30}  # as in the recipe `diffusion`
FAST: dict[str, Any] = {"scheduler": "dpmpp-2m", "steps": 20}
FEW: dict[str, Any] = {"scheduler": "lcm", "steps": 4, "guidance": 1.0}


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Name of a line, and what it changes in the engine's settings."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    shards: bool = False  # the whole way from stored frames to stored variants

    @property
    def lossy(self) -> bool:
        """Whether the line changes the images."""
        return self.name.startswith("lossy")


def lines(compile_mode: Compile, only: Sequence[str] = ()) -> list[LineSettings]:
    """Return the lines of a run; `only`: those whose names contain one of the words."""
    compiled = {"channels_last": True, "compile": compile_mode}
    if compile_mode == "off":
        found = [
            LineSettings("batches", EXACT),
            LineSettings("+ channels_last", EXACT | compiled),
            LineSettings("+ frames and variants in shards", EXACT | compiled, shards=True),
            *_lossy(EXACT | compiled),
        ]
        cached = {n: EXACT | compiled | {"feature_cache": {"interval": n}} for n in (4, 2)}
        found[5:5] = [LineSettings(f"lossy: feature cache {n}", cached[n]) for n in cached]
    else:
        name = "+ torch.compile" if compile_mode == "default" else f"+ {compile_mode}"
        found = [
            LineSettings(name, EXACT | compiled),
            LineSettings(f"{name}, frames and variants in shards", EXACT | compiled, shards=True),
            *_lossy(EXACT | compiled),
        ]
    return [line for line in found if not only or any(part in line.name for part in only)]


def _lossy(exact: dict[str, Any]) -> list[LineSettings]:
    """Lossy lines: once a run is compiled, only what takes other shapes is compiled again."""
    fast, few = exact | FAST, exact | FEW
    return [
        LineSettings("lossy: 20 steps, guidance until 0.5", fast | {"guidance_until": 0.5}),
        LineSettings("lossy: 4 steps", few),
        LineSettings("lossy: 20 steps", fast),
        LineSettings("lossy: 4 steps, tiny decoder", few | {"tiny_decoder": True}),
        LineSettings("lossy: control until 0.7", exact | {"control_end": 0.7}),
        LineSettings("lossy: tiny decoder", exact | {"tiny_decoder": True}),
    ]


def settings_of(line: LineSettings, root: Path, dtype: Any, steps: int | None) -> DiffusionSettings:
    """Settings of a line with the weights below `root`; `steps` overrides their number."""
    changes: dict[str, Any] = dict(line.changes) | ({"steps": steps} if steps else {})
    net = Weights(str(root / "controlnet-depth"))
    control = Control(weights=net, end=changes.pop("control_end", 1.0))
    if changes.pop("tiny_decoder", False):
        changes["tiny_decoder"] = Weights(str(root / "taesd"))
    base = Weights(str(root / "base"))
    return DiffusionSettings(base=base, controls=(control,), dtype=dtype, **changes)
