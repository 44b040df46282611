"""What every engine takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from datasets.frame import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One variant to make: a clear frame at the recipe's size, and what is asked of it."""

    sample_id: str
    image: np.ndarray  # (H, W, 3) uint8, sRGB
    # (H, W) float32, dense, metres, > 0; sky = inf; None where a network finds the depth
    depth_m: np.ndarray | None
    intrinsics: np.ndarray  # (3, 3) float64, pixels of `image`
    condition: Condition
    severity: float  # [0, 1]
    seed: int  # decides every random choice of this sample, and nothing else does
    T_ego_camera: np.ndarray | None = None  # (4, 4) float64, metres; None: looks straight ahead
    prompt: str = ""  # the final one: condition's phrase and caption
    control_images: tuple[np.ndarray, ...] = ()  # each (H, W, 3) uint8 as `image`; near is white
    style_image: np.ndarray | None = None  # (h, w, 3) uint8, sRGB, of any size
    style_id: str = ""  # name of the style image: equal names are equal images


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What an engine made of a request."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    physical: dict[str, float] = field(default_factory=dict)  # {"visibility_m": 80.0}
    provenance: dict[str, str] = field(default_factory=dict)  # {"device": "cpu", "dtype": ...}


class Engine(Protocol):
    """Turns a batch of requests into variants; a pure function of each request alone."""

    name: str
    version: str  # part of the recipe's hash: raised when the same request gives other bytes
    conditions: tuple[Condition, ...]

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Make one variant per request, in order."""
        ...


@runtime_checkable
class ReportsOutcomes(Protocol):
    """An engine that knows which request of a batch failed: a bad picture costs only itself."""

    def outcomes(self, requests: Sequence[Request]) -> Sequence[Variant | Exception]:
        """One variant or failure per request, in order; raises Refused."""
        ...
