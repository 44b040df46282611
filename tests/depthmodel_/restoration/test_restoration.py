"""Feature restoration: silent before training, right with an oracle, and what its gradient sees."""

import pytest
import torch
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.restoration.residual_shift import noised
from nightrain.depthmodel.restoration.restoration import FeatureRestoration

CHANNELS, GRID = 6, (5, 7)
SMALL = RestorationConfig(base_channels=8, multipliers=(1, 2), num_blocks=1)


def configured(**changes: object) -> RestorationConfig:
    return RestorationConfig.model_validate(SMALL.model_dump() | changes)


def features(seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-1, 2, CHANNELS)[:, None, None]
    return scale * torch.randn(batch, CHANNELS, *GRID, generator=generator) - 2


def calibrated(config: RestorationConfig = SMALL, *, stirred: bool = False) -> FeatureRestoration:
    """A restoration with statistics; `stirred`: with a last convolution that is not zero."""
    torch.manual_seed(0)
    restoration = FeatureRestoration(CHANNELS, config)
    restoration.calibrate(features(seed) for seed in range(10, 14))
    if stirred:
        nn.init.normal_(restoration.unet.residual.weight, std=0.05)
    return restoration


class Oracle(nn.Module):
    """The residual to a known target, whatever it is shown; keeps what it was shown."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target, self.seen = target, []

    def forward(self, x: Tensor, f: Tensor, step: Tensor) -> Tensor:
        self.seen.append((x, step))
        return self.target - f


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        configured(kappa=2.0, stochastic=True),
        configured(kind="one-step"),
        configured(num_components=3),
        configured(num_steps=8, full_gradient=True),
    ],
)
@pytest.mark.parametrize("ready", [False, True])
def test_untrained_it_returns_its_input_bit_for_bit(config: RestorationConfig, ready: bool) -> None:
    restoration = calibrated(config) if ready else FeatureRestoration(CHANNELS, config)
    F = features()
    generator = torch.Generator().manual_seed(0)
    estimates = restoration(F) + restoration(F, generator=generator)
    eps = torch.randn_like(restoration.standardise(F))
    estimates.append(restoration.estimate_from(F, features(1), 1, eps))
    estimates.append(restoration.estimate_from(F, 100 + F, config.effective_steps, eps))
    assert len(estimates) == 2 * config.effective_steps + 2
    assert all(torch.equal(estimate, F) for estimate in estimates)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
@pytest.mark.parametrize("stochastic", [False, True])
def test_an_oracle_recovers_the_target_at_every_step(num_steps: int, stochastic: bool) -> None:
    restoration = calibrated(configured(num_steps=num_steps, stochastic=stochastic)).double()
    F, target = features().double(), features(1).double()
    restoration.unet = Oracle(restoration.standardise(target))  # pyright: ignore
    estimates = restoration(F, generator=torch.Generator().manual_seed(0))
    assert len(estimates) == num_steps
    for estimate in estimates:
        torch.testing.assert_close(estimate, target, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_an_oracle_is_shown_the_forward_process(num_steps: int) -> None:
    """From a start that lies on it, the chain meets what training with a known target shows."""
    restoration = calibrated(configured(num_steps=num_steps)).double()
    F, target = features().double(), features(1).double()
    f, wanted = restoration.standardise(F), restoration.standardise(target)
    oracle = restoration.unet = Oracle(wanted)  # pyright: ignore
    eta, kappa, eps = restoration.eta, restoration.kappa, torch.randn_like(f)
    last = eta[-1] ** 0.5 * kappa
    start = noised(wanted, f, eta[-1], kappa, eps)
    restoration(F, noise=(start - f) / last)
    chain = list(oracle.seen)
    oracle.seen.clear()
    for t in range(num_steps, 0, -1):
        restoration.estimate_from(F, target, torch.tensor([t, t]), eps)
    for (x, step), (expected, expected_step) in zip(chain, oracle.seen, strict=True):
        assert torch.equal(step, expected_step)
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)


def test_samples_of_a_batch_are_noised_each_to_its_own_step() -> None:
    restoration = calibrated(stirred=True).double()
    F, target = features().double(), features(1).double()
    eps = torch.randn_like(F)
    together = restoration.estimate_from(F, target, torch.tensor([4, 1]), eps)
    for i, t in enumerate((4, 1)):
        s = slice(i, i + 1)
        torch.testing.assert_close(
            together[s], restoration.estimate_from(F[s], target[s], t, eps[s])
        )


def test_result_without_noise_is_one_and_the_same_and_seeds_differ() -> None:
    restoration = calibrated(configured(stochastic=True), stirred=True)
    F = features()

    def seeded(seed: int) -> Tensor:
        return restoration(F, generator=torch.Generator().manual_seed(seed))[-1]

    state = torch.get_rng_state()
    assert torch.equal(restoration(F)[-1], restoration(F)[-1])
    assert torch.equal(seeded(1), seeded(1)) and not torch.equal(seeded(1), seeded(2))
    assert torch.equal(torch.get_rng_state(), state)
    given = restoration(F, noise=torch.zeros_like(F))[-1]
    assert torch.equal(given, restoration(F)[-1])


def test_stochastic_steps_differ_from_deterministic_ones() -> None:
    noise, F = torch.randn_like(features()), features()
    chains = [
        calibrated(configured(stochastic=s), stirred=True)(F, noise=noise) for s in (False, True)
    ]
    assert torch.equal(chains[0][0], chains[1][0])
    assert not torch.allclose(chains[0][-1], chains[1][-1])


def test_fewer_steps_are_some_of_those_it_was_trained_for() -> None:
    restoration = calibrated(configured(num_steps=8))
    assert restoration.steps() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert restoration.steps(1) == [8] and restoration.steps(2) == [8, 1]
    for count in range(2, 9):
        steps = restoration.steps(count)
        assert (steps[0], steps[-1]) == (8, 1) and len(set(steps)) == count
        assert steps == sorted(steps, reverse=True)
    assert len(restoration(features(), num_steps=3)) == 3
    for wrong in (0, 9):
        with pytest.raises(InvalidRequest, match="1 to the 8"):
            restoration(features(), num_steps=wrong)


def test_control_has_the_very_same_parameters_and_no_noise() -> None:
    ours, control = (
        FeatureRestoration(CHANNELS, configured(kind=kind)) for kind in ("diffusion", "one-step")
    )
    shapes = [{k: t.shape for k, t in r.state_dict().items()} for r in (ours, control)]
    assert shapes[0] == shapes[1]
    control = calibrated(configured(kind="one-step"), stirred=True)
    F = features()
    assert len(control(F)) == 1
    assert torch.equal(control(F)[0], control(F, generator=torch.Generator().manual_seed(0))[0])


def test_calibrated_features_have_mean_zero_and_deviation_one() -> None:
    shown = torch.cat([features(seed) for seed in range(10, 14)])
    z = calibrated().standardise(shown)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(CHANNELS), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(CHANNELS))
    z = calibrated(configured(num_components=4)).standardise(shown)
    places = z.movedim(1, 0).flatten(1)
    torch.testing.assert_close(torch.cov(places, correction=0), torch.eye(4), rtol=0, atol=1e-4)


def test_components_are_all_that_changes() -> None:
    restoration = calibrated(configured(num_components=2), stirred=True).double()
    F = features().double()
    change = (restoration(F)[-1] - F) / restoration.std[:, None, None]
    places = change.movedim(1, 0).flatten(1)  # (C, n)
    assert places.abs().max() > 1e-3
    inside = restoration.basis.T @ (restoration.basis @ places)
    torch.testing.assert_close(places, inside, rtol=0, atol=1e-6)  # P was kept in float32
    everything = calibrated(configured(num_components=CHANNELS)).double()
    target = features(1).double()
    everything.unet = Oracle(everything.standardise(target))  # pyright: ignore
    torch.testing.assert_close(everything(F)[-1], target, rtol=1e-5, atol=1e-4)


def test_statistics_travel_with_the_weights() -> None:
    config = configured(num_components=3)
    ours, other = calibrated(config, stirred=True), FeatureRestoration(CHANNELS, config)
    other.load_state_dict(ours.state_dict())
    F = features()
    assert torch.equal(ours(F)[-1], other(F)[-1])


@pytest.mark.parametrize("full", [False, True])
def test_gradient_of_a_late_estimate_reaches_early_steps_only_where_asked_for(full: bool) -> None:
    restoration = calibrated(configured(full_gradient=full), stirred=True)
    residuals: list[Tensor] = []

    def keep(module: nn.Module, args: object, residual: Tensor) -> None:
        residual.retain_grad()
        residuals.append(residual)

    restoration.unet.register_forward_hook(keep)
    restoration(features())[-1].sum().backward()
    assert len(residuals) == 4
    reached = [r.grad is not None and bool(r.grad.any()) for r in residuals]
    assert reached == [full, full, full, True]


def test_one_valid_pixel_of_depth_trains_it() -> None:
    """At first the last convolution alone learns, being zero; after a step, everything."""
    torch.manual_seed(0)
    restoration, decoder = calibrated(), nn.Conv2d(CHANNELS, 1, 1)
    decoder.requires_grad_(False)
    optimiser = torch.optim.SGD(restoration.parameters(), lr=1e-2)
    for step in range(2):
        optimiser.zero_grad()
        log_depth = decoder(restoration(features())[-1])
        log_depth[0, 0, 2, 3].square().backward()
        moved = {n for n, p in restoration.unet.named_parameters() if p.grad is not None}
        assert all(p.grad is None or p.grad.isfinite().all() for p in restoration.parameters())
        moved = {n for n in moved if restoration.unet.get_parameter(n).grad.any()}  # pyright: ignore
        expected = {n for n, _ in restoration.unet.named_parameters()}
        assert moved == (expected if step else {"residual.weight", "residual.bias"})
        optimiser.step()


def test_learns_to_undo_a_degradation_it_was_shown() -> None:
    """f = f* dimmed and shifted: trained with known targets, the chain from f comes nearer."""
    torch.manual_seed(0)
    restoration = FeatureRestoration(4, configured(base_channels=16))
    optimiser = torch.optim.Adam(restoration.parameters(), lr=3e-3)

    def pair(batch: int) -> tuple[Tensor, Tensor]:
        target = torch.randn(batch, 4, 6, 6)
        return 0.5 * target + 1, target

    for _ in range(60):
        F, target = pair(8)
        step = torch.randint(1, 5, (8,))
        estimate = restoration.estimate_from(F, target, step, torch.randn_like(F))
        optimiser.zero_grad()
        (estimate - target).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        F, target = pair(32)
        before, after = ((x - target).square().mean() for x in (F, restoration(F)[-1]))
    assert after < 0.25 * before


def test_half_precision_leaves_the_features_in_full() -> None:
    restoration, F = calibrated(configured(num_components=3)), features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimates = restoration(F)
    assert all(x.dtype == torch.float32 and torch.equal(x, F) for x in estimates)


def test_operations_can_be_counted_without_numbers() -> None:
    with torch.device("meta"):
        restoration = FeatureRestoration(CHANNELS, configured(num_components=3))
        estimates = restoration(torch.empty(2, CHANNELS, *GRID))
    assert [e.shape for e in estimates] == [(2, CHANNELS, *GRID)] * 4


def test_bad_input_is_refused() -> None:
    restoration, F = calibrated(), features()
    with pytest.raises(InvalidRequest, match=r"\(B, 6, h, w\)"):
        restoration(F[:, :5])
    with pytest.raises(InvalidRequest, match="found noise"):
        restoration(F, noise=F[:1])
    with pytest.raises(InvalidRequest, match="found noise"):
        restoration.estimate_from(F, F, 1, F[:1])
    with pytest.raises(InvalidRequest, match="target"):
        restoration.estimate_from(F, F[:1], 1, F)
    for wrong in (0, 5, torch.tensor([1, 5]), torch.tensor([1])):
        with pytest.raises(InvalidRequest, match="1 to 4"):
            restoration.estimate_from(F, F, wrong, F)
    with pytest.raises(InvalidRequest, match="at most the 6"):
        FeatureRestoration(CHANNELS, configured(num_components=7))
    with pytest.raises(InvalidRequest, match=r"\(B, 6, h, w\)"):
        restoration.calibrate([torch.randn(1, 1, 2, 2)])
