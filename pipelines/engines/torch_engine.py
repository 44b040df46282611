"""Engines on a torch device: the device's identity and its memory between shards."""

import torch


class TorchEngine:
    """Base class of engines that compute on one GPU or on the CPU."""

    overlaps: bool = True

    def __init__(self, device: str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def device_id(self) -> str:
        """Return the GPU's UUID; "" on a CPU, which processes can share."""
        if self._device.type != "cuda":
            return ""
        return f"cuda {torch.cuda.get_device_properties(self._device).uuid}"

    def device_name(self) -> str:
        """Return the GPU's name, or "cpu"."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"

    def rest(self) -> None:
        """Release all device memory except the weights."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
