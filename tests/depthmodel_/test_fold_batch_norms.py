"""Networks without batch norms predict what they did with them, or are left as they are."""

from typing import cast

import pytest
import timm
import torch
from torch import nn

from nightrain.depthmodel.config import Kind
from nightrain.depthmodel.fold_batch_norms import fold_batch_norms, without_batch_norms
from support.tiny_depth_models import tiny_model


def with_statistics(network: nn.Module) -> nn.Module:
    """A network whose norms have other means, variances, scales and shifts than new ones."""
    generator = torch.Generator().manual_seed(3)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                assert tensor is not None
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
    return network


def num_norms(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize(("kind", "has_norms"), [("resnet", True), ("convnext", False)])
def test_a_depth_network_predicts_the_same(kind: Kind, has_norms: bool) -> None:
    model = tiny_model(kind)
    with_statistics(model)
    image = torch.rand(2, 3, 56, 112)
    found = without_batch_norms(model, lambda one: one(image).inverse_depth)
    with torch.no_grad():
        torch.testing.assert_close(found(image).inverse_depth, model(image).inverse_depth)
    assert found is not model
    assert (num_norms(model) > 0, num_norms(found)) == (has_norms, 0)


def test_activations_of_timms_norms_stay() -> None:
    network = with_statistics(timm.create_model("tf_efficientnet_lite0")).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
        assert num_norms(network) > 40
        fold_batch_norms(network)
        torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
    assert num_norms(network) == 0


class OtherOrder(nn.Module):
    """A norm that stands behind a convolution and is called before it."""

    def __init__(self, last: nn.Conv2d) -> None:
        super().__init__()
        channels = last.in_channels
        self.conv, self.norm = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(self.norm(x)))


def test_a_network_that_calls_its_parts_in_another_order_is_left_alone() -> None:
    model = tiny_model()
    other = OtherOrder(cast(nn.Conv2d, model.decoder.logit))
    model.decoder.logit = other  # type: ignore[assignment]
    with_statistics(model)
    image = torch.rand(1, 3, 56, 112)
    assert without_batch_norms(model, lambda one: one(image).inverse_depth) is model
    assert isinstance(other.norm, nn.BatchNorm2d)
