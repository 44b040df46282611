"""Strict decoder: whether it is invertible, and bi-Lipschitz within its proven constants.

    python -m nightrain.benchmarks.lipschitz [--model FOLDER] [--size 64x64] [--seed 0]

Checks T3 and T4 of IID-RDepth (docs/papers/iid_rdepth.md). Without a model, the command tests a
decoder with large random weights, before and after a few optimiser steps. It prints, as Markdown,
the smallest and largest stretch |D(x) - D(y)| / |x - y| found by random pairs at distances 1e-4 to
10, by power iteration on the Jacobian and on that of the inverse, and by gradient ascent; then the
errors of the inverse. Every stretch must be within the proven constants. In the negative control,
the log scale of one coupling depends on the wrong half of the channels, and the other half is
large: it must exceed the constants, otherwise the measurement is not sensitive enough.
"""

import argparse
import copy
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from nightrain.benchmarks.image_size import image_size
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.decoders.base import DepthRange, EncoderShape
from nightrain.depthmodel.decoders.coupling import Coupling, plain_weights
from nightrain.depthmodel.decoders.strict import CELL, LATENT_CHANNELS, StrictDecoder

Map = Callable[[Tensor], Tensor]
Low = tuple[Tensor, Tensor]
Range = tuple[float, float]  # smallest and largest stretch
DISTANCES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
LOW_CHANNELS = (8, 16)
CONTROL_SCALE = 100.0  # factor on the half of z that the control's slope grows with


class ScaleFromHalf(nn.Module):
    """Negative control: a coupling with a log scale of the same bound that depends on x1."""

    def __init__(self, step: Coupling) -> None:
        super().__init__()
        self.step = step
        changed = step.leave.out_channels
        self.look = nn.Conv2d(step.kept, changed, 1).to(step.leave.weight)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Apply the coupling with the scale s(x1)."""
        rotated, matrix = self.step.rotation(x)
        x1, x2 = rotated[:, : self.step.kept], rotated[:, self.step.kept :]
        _, shift = self.step.log_scale_and_shift(x1, c)
        scale = (self.step.scale_bound * self.look(x1).tanh()).exp()
        return self.step.rotation.back(torch.cat([x1, scale * x2 + shift], dim=1), matrix)


def fixed(decoder: StrictDecoder) -> StrictDecoder:
    """Copy a decoder with its parametrised weights as constants, which evaluates faster."""
    plain = copy.deepcopy(decoder).requires_grad_(False)
    plain_weights(plain)
    return plain


def negative_control(decoder: StrictDecoder) -> StrictDecoder:
    """Copy a decoder and make the scale of its first coupling depend on x1."""
    control = copy.deepcopy(decoder)
    level = control.levels[0]
    assert isinstance(level, nn.ModuleList)
    level[0] = ScaleFromHalf(control.steps()[0][0])
    return control


def far_point(decoder: StrictDecoder, z: Tensor) -> Tensor:
    """Scale by 100 the half of z that the first coupling changes; x1 stays the same."""
    step = decoder.steps()[0][0]
    rotated, matrix = step.rotation(z)
    far = torch.cat([rotated[:, : step.kept], CONTROL_SCALE * rotated[:, step.kept :]], dim=1)
    return step.rotation.back(far, matrix).detach()


@torch.no_grad()
def pair_ratios(f: Map, x: Tensor, distance: float) -> Range:
    """Smallest and largest |f(x) - f(y)| / |x - y| of a batch, with random y at `distance`."""
    step = torch.randn_like(x)
    step *= distance / _lengths(step).view(-1, 1, 1, 1)
    ratios = _lengths(f(x + step) - f(x)) / distance
    return ratios.min().item(), ratios.max().item()


@torch.no_grad()
def largest_stretch(f: Map, x: Tensor, num_steps: int = 30) -> float:
    """Largest singular value of f's Jacobian J at x, from below: power iteration on J^T J."""
    v = torch.randn_like(x)
    for _ in range(num_steps):
        v = v / v.norm()
        v = torch.func.vjp(f, x)[1](_along(f, x, v))[0]
    return _along(f, x, v / v.norm()).norm().item()


def _along(f: Map, x: Tensor, v: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own use of torch.jit.script
        return torch.func.jvp(f, (x,), (v,))[1]


def stretch_range(f: Map, inverse: Map, x: Tensor, num_steps: int = 30) -> Range:
    """Smallest and largest singular value of the Jacobian at x; the smallest uses the inverse."""
    with torch.no_grad():
        y = f(x)
    return 1 / largest_stretch(inverse, y, num_steps), largest_stretch(f, x, num_steps)


def adversarial_ratios(f: Map, x: Tensor, num_steps: int = 100) -> Range:
    """Smallest and largest |f(x) - f(y)| / |x - y| that Adam finds by moving both points.

    The samples of a batch (B, ...), B even, search independently: half minimise, half maximise.
    """
    half = x.shape[0] // 2
    sign = torch.cat([-torch.ones(half), torch.ones(half)]).to(x)
    point, step = x.clone().requires_grad_(), (0.1 * torch.randn_like(x)).requires_grad_()
    optimiser = torch.optim.Adam([point, step], lr=0.03)
    best = torch.full_like(sign, -math.inf)
    for _ in range(num_steps):
        gap = f(point + step) - f(point)
        ratio = _lengths(gap) / _lengths(step)
        best = torch.maximum(best, (sign * ratio).detach())
        point.grad, step.grad = torch.autograd.grad(-(sign * ratio.log()).sum(), [point, step])
        optimiser.step()
    return -best[:half].max().item(), best[half:].max().item()


@torch.no_grad()
def inverse_errors(decoder: StrictDecoder, z: Tensor, low: Low) -> Range:
    """Largest error relative to the largest value: of z from its u, and of u from its z."""
    u = decoder.log_depth(z, low)
    again = decoder.inverse(u, low)
    return _relative(again, z), _relative(decoder.log_depth(again, low), u)


def random_decoder(
    seed: int, std: float = 0.5, config: StrictConfig | None = None
) -> StrictDecoder:
    """Build a float64 decoder with all weights random, so that it does not start as an isometry.

    `std` is relative to 1 / sqrt(number of inputs).
    """
    torch.manual_seed(seed)
    shape = EncoderShape((*LOW_CHANNELS, 16, 64))  # packed: 8 channels at 1/8
    depths = DepthRange(0.1, 80.0, 10.0)
    decoder = StrictDecoder(shape, depths, config or StrictConfig()).double()
    for weight in decoder.parameters():
        nn.init.normal_(weight, std=std / math.sqrt(max(1, weight[0].numel())))
    return decoder


def random_inputs(size: tuple[int, int], batch: int = 4, scale: float = 1.0) -> tuple[Tensor, Low]:
    """z and low-level maps in float64 for an image of `size` (height, width) in pixels."""

    def noise(channels: int, cell: int) -> Tensor:
        grid = (math.ceil(size[0] / cell), math.ceil(size[1] / cell))
        return scale * torch.randn(batch, channels, *grid, dtype=torch.float64)

    return noise(LATENT_CHANNELS, CELL), (noise(LOW_CHANNELS[0], 4), noise(LOW_CHANNELS[1], 8))


def train_a_little(decoder: StrictDecoder, size: tuple[int, int], num_steps: int = 10) -> None:
    """Fit the decoder for a few steps, from random features to the depth of a flat road."""
    z, low = random_inputs(size, batch=2)
    rows = torch.linspace(math.log(60), math.log(4), size[0], dtype=torch.float64)
    wanted = rows.view(1, 1, -1, 1).expand(2, 1, *size)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    for _ in range(num_steps):
        optimiser.zero_grad()
        (decoder.log_depth(z, low) - wanted).abs().mean().backward()
        optimiser.step()


def print_tables(title: str, decoder: StrictDecoder, z: Tensor, low: Low) -> None:
    """Print the measured stretch of a float64 decoder next to its proven constants."""
    least, most = decoder.lipschitz_bounds()
    print(f"\n## {title}\n\nProven constants: {least:.4g} to {most:.4g}.\n")
    print("| stretch of z to u | smallest | largest | within |\n|---|---|---|---|")
    for name, (low_end, high_end) in _observations(fixed(decoder), z, low):
        within = "NO" if low_end < least or high_end > most else "yes"
        shown = "-" if math.isnan(low_end) else f"{low_end:.4g}"  # not measured for the control
        print(f"| {name} | {shown} | {high_end:.4g} | {within} |")
    print("\n| inverse, relative error | z to u to z | u to z to u |\n|---|---|---|")
    for name, dtype, wanted in (("fp64", torch.float64, 1e-12), ("fp32", torch.float32, 1e-5)):
        for scale in (1, 10):
            at = copy.deepcopy(decoder).to(dtype)
            scaled = tuple(scale * x.to(dtype) for x in (z, *low))
            there, back = inverse_errors(at, scaled[0], (scaled[1], scaled[2]))
            print(f"| {name}, inputs x{scale}, target < {wanted} | {there:.2g} | {back:.2g} |")


def _observations(decoder: StrictDecoder, z: Tensor, low: Low) -> Iterator[tuple[str, Range]]:
    one, one_low = z[:1], (low[0][:1], low[1][:1])
    far, control = far_point(decoder, one), negative_control(decoder)
    for distance in DISTANCES:
        yield (
            f"pairs at {distance:g}",
            pair_ratios(lambda x: decoder.log_depth(x, low), z, distance),
        )
    f, inverse = _of(decoder, one_low), (lambda u: decoder.inverse(u, one_low))
    yield "power iteration", stretch_range(f, inverse, one)
    yield f"power iteration, one half x{CONTROL_SCALE:g}", stretch_range(f, inverse, far)
    yield "gradient search, 100 steps", adversarial_ratios(_of(decoder, low), z)
    leaky = _of(control, one_low)
    most = largest_stretch(leaky, far)
    yield f"negative control, one half x{CONTROL_SCALE:g}: must say NO", (math.nan, most)


def _of(decoder: StrictDecoder, low: Low) -> Map:
    return lambda x: decoder.log_depth(x, low)


def _lengths(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def _relative(found: Tensor, true: Tensor) -> float:
    return ((found - true).abs().max() / true.abs().max()).item()


def _trained(folder: Path, size: tuple[int, int]) -> tuple[StrictDecoder, Tensor, Low]:
    """Load a saved model's strict decoder, with a random z and the features of random images."""
    from nightrain.depthmodel.network.model import DepthModel  # slow to import, rarely needed

    model = DepthModel.from_pretrained(folder).double()
    decoder = model.decoder
    if not isinstance(decoder, StrictDecoder):
        raise InvalidRequest(f"the model in {folder} has no strict decoder. Name one that has.")
    features = model.encode(torch.rand(4, 3, *size, dtype=torch.float64))
    cell = CELL if decoder.patch is None else decoder.patch
    z = torch.randn(4, LATENT_CHANNELS, size[0] // cell, size[1] // cell, dtype=torch.float64)
    return decoder, z, (features[0].detach(), features[1].detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder (default: random weights)")
    parser.add_argument("--size", type=image_size, default=(64, 64), help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    width, height = options.size
    torch.manual_seed(options.seed)
    if options.model is not None:
        print_tables(options.model.name, *_trained(options.model, (height, width)))
        return
    decoder = random_decoder(options.seed)
    z, low = random_inputs((height, width))
    print_tables(f"random weights, seed {options.seed}, {width} x {height}", decoder, z, low)
    train_a_little(decoder, (height, width))
    print_tables("the same after 10 optimiser steps", decoder, z, low)


if __name__ == "__main__":
    main()
