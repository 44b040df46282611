"""Pool of training views on one device, which grows while places are still being rendered."""

import copy
from pathlib import Path

import numpy as np
import torch

from nightrain.datasets.io.regular import matching
from nightrain.pipelines.small_diffusion.data.views import Views, read_places


class Pool:
    """Views as tensors: pixels (N, H, W, 3) uint8, controls (N, H, W) uint8 and their texts."""

    def __init__(self, folder: Path, device: torch.device, *, held_out: bool) -> None:
        self.folder, self.device, self.held_out = folder, device, held_out
        self._seen: set[str] = set()
        self.pixels = self.controls = torch.empty(0, dtype=torch.uint8)
        self.condition = self.group = np.empty(0, np.int64)
        self.prompts = np.empty((0, 1), str)
        self.refresh()

    def __len__(self) -> int:
        return len(self.pixels)

    def refresh(self) -> int:
        """Read the places that are new in the folder; return the number of new views."""
        new = list(read_places(self.folder, held_out=self.held_out, seen=self._seen))
        if not new:
            return 0
        pixels = torch.from_numpy(np.concatenate([v.image for v in new])).to(self.device)
        controls = torch.from_numpy(np.concatenate([v.control for v in new])).to(self.device)
        first = len(self) == 0
        self.pixels = pixels if first else torch.cat([self.pixels, pixels])
        self.controls = controls if first else torch.cat([self.controls, controls])
        self._append_texts(new, first)
        return len(pixels)

    def _append_texts(self, new: list[Views], first: bool) -> None:
        parts = [] if first else [self]
        self.condition = np.concatenate([v.condition for v in (*parts, *new)])
        self.group = np.concatenate([v.group for v in (*parts, *new)])
        self.prompts = np.concatenate([v.prompts for v in (*parts, *new)])

    def spread(self, limit: int) -> "Pool":
        """Pool of at most `limit` views, spread over this one; it does not grow."""
        found = copy.copy(self)
        numbers = torch.linspace(0, len(self) - 1, min(limit, len(self))).long()
        for name in ("pixels", "controls"):
            setattr(found, name, getattr(self, name)[numbers.to(self.device)])
        for name in ("condition", "group", "prompts"):
            setattr(found, name, getattr(self, name)[numbers.numpy()])
        found._seen = {path.name for path in matching(self.folder, "place-*.npz")}
        return found

    def images(self, numbers: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) float32 in [-1, 1]."""
        return self.pixels[numbers].permute(0, 3, 1, 2).float() / 127.5 - 1

    def control_images(self, numbers: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
        """Control images (B, 3, H, W) float32 in [0, 1], mirrored where `flipped` (B,) is true."""
        controls = self.controls[numbers]
        controls = torch.where(flipped[:, None, None], controls.flip(-1), controls)
        return controls[:, None].float().div(255).expand(-1, 3, -1, -1)

    def partners(self, numbers: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw another view of each view's group; groups are runs of equal length."""
        size = int((self.group == self.group[0]).sum())
        shift = torch.randint(1, size, numbers.shape, generator=generator, device=numbers.device)
        return numbers // size * size + (numbers % size + shift) % size
