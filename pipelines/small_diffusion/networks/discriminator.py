"""Discriminator of picture patches for the decoder stage."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (48, 96, 192, 192)
SLOPE = 0.2  # of the leaky rectifier


class PatchDiscriminator(nn.Module):
    """One score per patch of about 70 pixels (Isola et al. 2017), under spectral normalisation.

    It sees pixels only, no ImageNet features: the measures judge by those.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, width in enumerate(WIDTHS):
            stride = 2 if number < len(WIDTHS) - 1 else 1
            convolution = nn.Conv2d(channels, width, 4, stride, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(SLOPE)]
            channels = width
        layers.append(spectral_norm(nn.Conv2d(channels, 1, 4, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, 1, h, w) of images (B, 3, H, W) in [-1, 1]: high for true pictures."""
        return self.layers(images)


def scored_by_frozen(discriminator: PatchDiscriminator, images: torch.Tensor) -> torch.Tensor:
    """Scores whose gradient reaches the images alone, not the discriminator's weights."""
    weights = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    return torch.func.functional_call(discriminator, weights, (images,))
