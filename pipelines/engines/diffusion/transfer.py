"""Host-device transfers that do not make the GPU wait for the host."""

from dataclasses import dataclass

import torch


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move values to a device; to a GPU asynchronously, behind its queued work."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)  # pageable memory would block


@dataclass(frozen=True, slots=True)
class HostCopy:
    """Asynchronous copy of values to the host."""

    values: torch.Tensor  # on the host; complete after `wait`
    arrived: torch.cuda.Event | None  # None: the copy is complete

    @classmethod
    def of(cls, values: torch.Tensor) -> "HostCopy":
        """Start the copy, queued behind the work that computes the values."""
        if values.device.type != "cuda":
            return cls(values.cpu(), None)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(host, arrived)

    def wait(self) -> torch.Tensor:
        """Wait for the copy and return the values."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values
