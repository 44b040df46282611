"""Engines on a torch device: the device's identity and its memory between shards."""

import logging

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.devices import gpu_id

UNSUPPORTED = {
    "mps": "Apple's, which has no float64 arithmetic, in which denoising steps are summed",
    "xpu": "Intel's, on which streams and batch sizes have not been tested",
}

logger = logging.getLogger(__name__)


def choose_device(name: str | None = None) -> torch.device:
    """Return the named device, or by default a CUDA or ROCm GPU if there is one, else the CPU.

    A GPU that the engine cannot use is named in a warning. Raises InvalidRequest for a device of
    another kind than "cuda" and "cpu".
    """
    if name is not None:
        kind = name.split(":")[0]
        if kind in ("cuda", "cpu"):
            return torch.device(name)
        reason = f" ({kind}: a GPU of {UNSUPPORTED[kind]})" if kind in UNSUPPORTED else ""
        raise InvalidRequest(
            f"This engine does not run on the device {name!r}{reason}. Use cuda or cpu."
        )
    if torch.cuda.is_available():
        return torch.device("cuda")
    for kind, reason in UNSUPPORTED.items():
        if getattr(torch, kind).is_available():
            logger.warning("the engine runs on the CPU: the GPU here is %s", reason)
    return torch.device("cpu")


class TorchEngine:
    """Base class of engines that compute on one GPU or on the CPU; raises InvalidRequest."""

    overlaps: bool = True

    def __init__(self, device: str | None = None) -> None:
        self._device = choose_device(device)

    def device_id(self) -> str:
        """Return the GPU's UUID; "" on a CPU, which processes can share."""
        return gpu_id(str(self._device)) if self._device.type == "cuda" else ""

    def device_name(self) -> str:
        """Return the GPU's name, or "cpu"."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"

    def rest(self) -> None:
        """Release all device memory except the weights."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
