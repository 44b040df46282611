"""What every engine takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nightrain.datasets.conditions import Condition


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
class DeviceEngine(Engine, Protocol):
    """An engine with a device of its own, which works on batches of a fixed shape.

    `embed`, `begin` and `finish` make one batch in three steps, so that the device has the next one
    before the host looks at the last. `embed` may run in another thread than the others, ahead of
    them; `begin` and `finish` run in one thread. All three raise InvalidRequest.
    """

    def device_id(self) -> str:
        """A name of the device that is the same in every process; empty: nothing to share."""
        ...

    def device_name(self) -> str:
        """What the device is, for people: "cpu", "NVIDIA H200"."""
        ...

    def probe(self, request: Request, limit: int) -> int:
        """Largest batch size up to `limit` whose memory suffices for such requests."""
        ...

    def embed(self, requests: Sequence[Request]) -> Any:
        """What the networks are conditioned on."""
        ...

    def begin(self, embedded: Any, batch_size: int) -> Any:
        """Give the device its work, in batches of exactly `batch_size`, and do not wait for it."""
        ...

    def finish(self, begun: Any) -> Sequence[Variant | Exception]:
        """Wait for one variant or failure per request, in order: a bad one costs only itself."""
        ...

    def rest(self) -> None:
        """Give the device's memory back but for the model, before somebody else uses it."""
        ...
