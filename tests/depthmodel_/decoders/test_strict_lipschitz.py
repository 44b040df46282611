"""No two features' depths lie nearer or farther than the stated constants say."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nightrain.benchmarks.lipschitz import (
    DISTANCES,
    Low,
    Map,
    Range,
    adversarial_ratios,
    far_point,
    fixed,
    largest_stretch,
    negative_control,
    pair_ratios,
    random_decoder,
    random_inputs,
    stretch_range,
    train_a_little,
)
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.decoders.coupling import UnitSpectralNorm
from nightrain.depthmodel.decoders.strict import StrictDecoder

SIZE = (32, 32)  # height, width
SMALL = StrictConfig(hidden_channels=16, condition_channels=8)
KINDS = ("random", "trained")


@pytest.fixture(scope="module")
def decoders() -> dict[str, StrictDecoder]:
    """Decoders at whose weights every bound is at work: drawn, and drawn and then trained."""
    random = random_decoder(0, std=4.0, config=SMALL)
    trained = copy.deepcopy(random)
    train_a_little(trained, SIZE, num_steps=4)
    return {"random": fixed(random), "trained": fixed(trained)}


def inputs(seed: int = 0, batch: int = 1, scale: float = 1.0) -> tuple[Tensor, Low]:
    torch.manual_seed(seed)
    return random_inputs(SIZE, batch, scale)


def there(decoder: StrictDecoder, low: Low) -> Map:
    return lambda z: decoder.log_depth(z, low)


def back(decoder: StrictDecoder, low: Low) -> Map:
    return lambda u: decoder.inverse(u, low)


def within(found: Range, decoder: StrictDecoder) -> bool:
    least, most = decoder.lipschitz_bounds()
    return least <= found[0] <= found[1] <= most


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_at_any_distance(kind: str, scale: float, decoders: dict[str, StrictDecoder]) -> None:
    decoder, (z, low) = decoders[kind], inputs(batch=8, scale=scale)
    for distance in DISTANCES:
        found = pair_ratios(there(decoder, low), z, distance)
        assert within(found, decoder) and found[1] - found[0] > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_power_iteration_on_the_jacobian_and_on_that_of_the_inverse(
    kind: str, decoders: dict[str, StrictDecoder]
) -> None:
    decoder, (z, low) = decoders[kind], inputs(1)
    for point in (z, far_point(decoder, z)):
        found = stretch_range(there(decoder, low), back(decoder, low), point, 8)
        assert within(found, decoder)
        assert found[1] > 1.2 * found[0]  # it does stretch; an isometry would not


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_for_the_worst_pair(kind: str, decoders: dict[str, StrictDecoder]) -> None:
    decoder, (z, low) = decoders[kind], inputs(2, batch=2)
    f = there(decoder, low)
    found = adversarial_ratios(f, z)
    at_random = pair_ratios(f, z, 1.0)
    assert found[0] < at_random[0] and found[1] > at_random[1]  # it searches
    assert within(found, decoder)


def test_negative_control_leaves_the_bounds(decoders: dict[str, StrictDecoder]) -> None:
    """A scale that looks at x1, and x2 a hundred times larger: only locally Lipschitz."""
    decoder, (z, low) = decoders["random"], inputs(3)
    control, far = negative_control(decoder), far_point(decoder, z)
    most = decoder.lipschitz_bounds()[1]
    assert largest_stretch(there(control, low), far, 8) > most
    assert pair_ratios(there(control, low), far, 0.1)[1] > most
    assert largest_stretch(there(decoder, low), far, 8) <= most


def test_weights_without_their_norms_leave_the_bounds() -> None:
    decoder = random_decoder(0, std=40.0, config=SMALL)
    control = copy.deepcopy(decoder)
    for step in (s for level in control.steps() for s in level):
        for layer in (step.enter, step.around, step.leave):
            norms = layer.get_submodule("parametrizations.weight")
            assert isinstance(norms, nn.ModuleList)
            norms[0] = nn.Identity()
    z, low = inputs(4)
    most = decoder.lipschitz_bounds()[1]
    assert largest_stretch(there(decoder, low), z, 8) <= most
    assert largest_stretch(there(control, low), z, 8) > most


def test_the_measures_on_a_linear_map_that_is_known() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(12, 12, dtype=torch.float64)
    inverse = torch.linalg.inv(matrix)
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64)

    def by(m: Tensor) -> Map:
        return lambda v: (v.flatten(1) @ m.T).view(v.shape)

    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    found = stretch_range(by(matrix), by(inverse), x, 30)
    assert found == pytest.approx((values[-1], values[0]), rel=1e-2)
    low, high = adversarial_ratios(by(matrix), torch.cat([x, x]))
    assert values[-1] <= low < 2 * values[-1] and 0.9 * values[0] < high <= values[0]
    pairs = pair_ratios(by(matrix), x.expand(20, -1, -1, -1), 0.1)
    assert values[-1] < pairs[0] < pairs[1] < values[0]


def test_norm_of_a_weight_is_not_underestimated() -> None:
    """One power iteration, as torch's spectral_norm does in training, would pass too much."""
    torch.manual_seed(0)
    weight = torch.randn(40, 40, dtype=torch.float64)
    v = torch.randn(40, dtype=torch.float64)
    u = nn.functional.normalize(weight @ nn.functional.normalize(v, dim=0), dim=0)
    estimate = (weight.T @ u).norm()
    assert torch.linalg.matrix_norm(weight / estimate, 2) > 1.1
    assert torch.linalg.matrix_norm(UnitSpectralNorm()(weight), 2) <= 1 + 1e-12
