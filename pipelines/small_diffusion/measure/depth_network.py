"""Depth network: a light decoder on frozen ImageNet features, trained under all weather."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

WIDTHS = (24, 40, 112, 320)  # of the feature maps at 1/4, 1/8, 1/16 and 1/32
INNER = 32
STEPS, BATCH, RATE = 1000, 16, 3e-3
ANCHOR = 0.1  # weight of the absolute error, in addition to the aligned one
Maps = Sequence[torch.Tensor]


class FeatureDecoder(nn.Module):
    """Feature pyramid (Lin et al. 2017): log inverse depth (N, H/2, W/2) from feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, INNER, 1) for width in WIDTHS)
        self.smooth = nn.ModuleList(nn.Conv2d(INNER, INNER, 3, padding=1) for _ in WIDTHS)
        self.head = nn.Conv2d(INNER, 4, 3, padding=1)  # four pixels of twice the size

    def forward(self, maps: Maps) -> torch.Tensor:
        """Decode maps, finest first."""
        inner: torch.Tensor | None = None
        for number in reversed(range(len(WIDTHS))):
            here = self.lateral[number](maps[number])
            if inner is not None:
                here = here + nn.functional.interpolate(inner, size=here.shape[-2:])
            inner = nn.functional.relu(here + self.smooth[number](nn.functional.relu(here)))
        assert inner is not None
        return nn.functional.pixel_shuffle(self.head(inner), 2)[:, 0]


def train_decoder(
    maps: Maps,
    targets: torch.Tensor,
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, float], object] = lambda step, loss: None,
) -> FeatureDecoder:
    """Train a decoder on feature maps (N, ...) and log inverse depth (N, H/2, W/2)."""
    torch.manual_seed(seed)
    decoder = FeatureDecoder()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        drawn = torch.randint(len(targets), (min(BATCH, len(targets)),), generator=generator)
        made, target = decoder([m[drawn].float() for m in maps]), targets[drawn]
        loss = (1 - correlation(made, target)).mean() + ANCHOR * (made - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(step + 1, float(loss.detach()))
    return decoder.eval().requires_grad_(False)


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Correlation (N,) of pictures (N, H, W); 0 for a constant one."""
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    norms = a.square().sum(1) * b.square().sum(1)
    return (a * b).sum(1) / norms.clamp_min(1e-12).sqrt()


def aligned_errors(estimates: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Errors (N,) of log inverse depth (N, h, w) after the best scale and shift of each picture.

    Mean squared error over the target's variance: 0 is exact, 1 is what a constant reaches. For a
    least-squares fit that is 1 - r^2, with the correlation r if positive.
    """
    pairs = (torch.from_numpy(np.asarray(x, np.float64)) for x in (estimates, targets))
    r = correlation(*pairs).clamp(0, 1)
    return (1 - r**2).numpy()
