"""Engine interface: requests in, variants out, in three steps that can overlap."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nightrain.datasets.conditions import Condition

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Input of an engine for one variant: a clear frame, the condition and the seed."""

    sample_id: str
    frame_id: str = ""  # name of the clear frame, for engines that look something up
    image: np.ndarray  # (H, W, 3) uint8, sRGB
    # (H, W) float32, dense, metres, > 0; sky = inf; None if a network estimates it
    depth_m: np.ndarray | None
    intrinsics: np.ndarray  # (3, 3) float64, pixels of `image`
    condition: Condition
    severity: float  # [0, 1]
    seed: int  # the only source of randomness of this sample
    T_ego_camera: np.ndarray | None = None  # (4, 4) float64, metres; None: looks straight ahead
    prompt: str = ""  # condition's phrase and caption, ready for the text encoder
    control_images: tuple[np.ndarray, ...] = ()  # each (H, W, 3) uint8 as `image`; near is white
    style_image: np.ndarray | None = None  # (h, w, 3) uint8, sRGB, of any size
    style_id: str = ""  # name of the style image: equal names are equal images


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Output of an engine for one request."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    # JPEG of `image`, stored byte for byte unless it is resized; None: `image` is encoded
    jpeg: bytes | None = None
    # (H, W) float32 in [0, 1]: share of the clear frame's contrast that the condition leaves; None
    # if the engine does not know
    visibility: np.ndarray | None = None
    physical: dict[str, float] = field(default_factory=dict)  # {"visibility_m": 80.0}
    provenance: dict[str, str] = field(default_factory=dict)  # {"device": "cpu", "dtype": ...}
    num_steps: int | None = None  # denoising steps that ran; None: the engine has none
    # On how many steps each control image acted; None: the engine takes none
    control_steps: tuple[int, ...] | None = None


class Engine(Protocol):
    """Turns batches of requests into variants; a variant depends on its request alone.

    `embed`, `begin` and `finish` are the three steps of one batch, so that a device can start the
    next batch before the host reads the last one. `embed` may run ahead in another thread; `begin`
    and `finish` run in one thread. All three raise InvalidRequest for requests that a retry cannot
    fix. An engine that computes on the host derives from `HostEngine` and only implements
    `generate`.
    """

    overlaps: bool  # whether batches overlap in threads; pays off if the host waits for a device

    def device_id(self) -> str:
        """Return a device name that is the same in every process; "" if no device needs a lock."""
        ...

    def device_name(self) -> str:
        """Return the device's human-readable name: "cpu", "NVIDIA H200"."""
        ...

    def probe(self, request: Request, limit: int) -> int | None:
        """Return the largest batch size up to `limit` that fits into memory for these requests.

        None if neither memory nor the bytes of variants depend on the batch size.
        """
        ...

    def embed(self, requests: Sequence[Request]) -> Any:
        """Compute the networks' conditioning; the result is the input of `begin`."""
        ...

    def begin(self, embedded: Any, batch_size: int) -> Any:
        """Start work in batches of exactly `batch_size`, without waiting for the device."""
        ...

    def finish(self, begun: Any) -> Sequence[Variant | Exception]:
        """Wait for the results: one variant or failure per request, in order."""
        ...

    def rest(self) -> None:
        """Release the device's memory, except for the weights, before another process uses it."""
        ...


class HostEngine(ABC):
    """Base class of engines that compute on the host: `generate` does all the work."""

    overlaps: bool = False  # one core per shard

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> Sequence[Variant | Exception]:
        """Return one variant or failure per request, in order."""

    def device_id(self) -> str:
        """Return "": there is no device to lock."""
        return ""

    def device_name(self) -> str:
        """Return "cpu"."""
        return "cpu"

    def probe(self, request: Request, limit: int) -> int | None:
        """Return None: any batch size gives the same bytes."""
        return None

    def embed(self, requests: Sequence[Request]) -> Any:
        """Return the requests unchanged."""
        return requests

    def begin(self, embedded: Any, batch_size: int) -> Any:
        """Generate the variants; `finish` hands them over."""
        return self.generate(embedded)

    def finish(self, begun: Any) -> Sequence[Variant | Exception]:
        """Return the variants that `begin` generated."""
        return begun

    def rest(self) -> None:
        """Do nothing: no device holds memory."""
        return None
