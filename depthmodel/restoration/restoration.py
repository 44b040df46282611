"""Feature restoration: a few steps of residual-shift diffusion from an encoder's features.

A frozen encoder's features f of a degraded image are treated as a degraded version of features f*
that the decoder would turn into the right depth (IID-RDepth, eqs. 2 to 6,
docs/papers/iid_rdepth.md). The chain starts at f, with a little noise or none; at each step a
network estimates f* = f + r. The paper's formulas are not public: this is ResShift (Yue et al.,
NeurIPS 2023) in the space of standardised features.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.restoration.feature_statistics import feature_statistics
from nightrain.depthmodel.restoration.residual_shift import (
    deterministic_step,
    noised,
    shift_schedule,
    stochastic_step,
)
from nightrain.depthmodel.restoration.unet import RestorationUNet


class FeatureRestoration(nn.Module):
    """Restores features F (B, C, h, w) to F + std r; untrained, it returns F bit for bit.

    The diffusion runs in the space of `standardise`: (F - mean) / std per channel or, with
    `num_components` K, the K principal components of that, each scaled to deviation 1; the
    rest is unchanged. `mean`, `std`, `basis` and `component_std` are buffers that `calibrate` sets;
    before, they are those of standardised features. Raises InvalidRequest for more components than
    channels.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor
    component_std: Tensor

    def __init__(self, channels: int, config: RestorationConfig) -> None:
        super().__init__()
        self.channels, self.config = channels, config
        components = config.num_components
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        if components is not None:
            if components > channels:
                raise InvalidRequest(
                    f"found num_components {components}, expected at most the {channels} channels "
                    "of the features: lower it, or leave it out"
                )
            self.register_buffer("basis", torch.eye(components, channels))
            self.register_buffer("component_std", torch.ones(components))
        self.unet = RestorationUNet(components or channels, config)
        self.kappa = config.effective_kappa
        table = shift_schedule(config.effective_steps, self.kappa, config.power, config.min_noise)
        self.eta: tuple[float, ...] = (0.0, *table.tolist())  # eta_0 = 0 .. eta_T

    def forward(
        self,
        features: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
    ) -> list[Tensor]:
        """Estimates (B, C, h, w) at steps T .. 1, the last being the result; raises InvalidRequest.

        The initial noise is `noise`, standard normal in the shape of `standardise(features)`, or
        drawn from `generator`, or zero. A stochastic chain also draws from `generator`, and without
        one takes the mean of each step. Fewer `num_steps` than the configured T skip steps between
        T and 1. Unless `full_gradient`, no gradient passes from a step to those before.
        """
        f = self.standardise(features)
        steps = self.steps(num_steps)
        noise = _drawn(f, generator) if noise is None else _checked_noise(noise, f)
        x = f + self.kappa * self.eta[steps[0]] ** 0.5 * noise
        estimates: list[Tensor] = []
        for step, before in zip(steps, [*steps[1:], 0], strict=True):
            residual = self.unet(x, f, _filled(step, f))
            estimates.append(self._restored(features, residual))
            if before:
                x = self._earlier(x, f, residual, step, before, generator)
        return estimates

    def estimate_from(
        self, features: Tensor, target: Tensor, step: int | Tensor, eps: Tensor
    ) -> Tensor:
        """Noise a known target (B, C, h, w) to step t (B,), 1 .. T, and estimate it (B, C, h, w).

        `eps` is standard normal in the shape of `standardise(features)`. The squared error to the
        target is a training loss (IID-RDepth, eq. 12, docs/papers/iid_rdepth.md). No gradient
        reaches the target. Raises InvalidRequest.
        """
        if target.shape != features.shape:
            raise InvalidRequest(
                f"found a target of shape {tuple(target.shape)} for features of shape "
                f"{tuple(features.shape)}, expected the same"
            )
        step = self._checked_steps(step, features)
        f, wanted = self.standardise(features), self.standardise(target.detach())
        eta = torch.tensor(self.eta, dtype=torch.float64, device=step.device)[step]
        eps = _checked_noise(eps, f)
        x = noised(wanted, f, eta.to(f)[:, None, None, None], self.kappa, eps)
        return self._restored(features, self.unet(x, f, step))

    def standardise(self, features: Tensor) -> Tensor:
        """Standardise features (B, C, h, w) to (B, K or C, h, w); raises InvalidRequest.

        Before `calibrate`, only `num_components` has an effect. Source: IID-RDepth, eq. 11
        (docs/papers/iid_rdepth.md).
        """
        f = (self._checked(features) - _per_channel(self.mean)) / _per_channel(self.std)
        if self.config.num_components is None:
            return f
        return torch.einsum("kc,bchw->bkhw", self.basis, f) / _per_channel(self.component_std)

    def calibrate(self, features: Iterable[Tensor]) -> None:
        """Set mean, deviation and components from maps (B, C, h, w) of training images.

        Call it once, before training: weights trained with other statistics do not fit.
        Raises InvalidRequest where `feature_statistics` does.
        """
        maps = (self._checked(one) for one in features)
        found = feature_statistics(maps, self.config.num_components)
        self.mean.copy_(found.mean)
        self.std.copy_(found.std)
        if found.basis is not None and found.component_std is not None:
            self.basis.copy_(found.basis)
            self.component_std.copy_(found.component_std)

    @property
    def is_calibrated(self) -> bool:
        """Whether `calibrate` was called, here or before the weights were saved."""
        return bool((self.std != 1).any())

    def steps(self, num_steps: int | None = None) -> list[int]:
        """Steps of the chain, from T down to 1 (T alone for one step); raises InvalidRequest."""
        last = self.config.effective_steps
        count = last if num_steps is None else num_steps
        if not 1 <= count <= last:
            raise InvalidRequest(
                f"found num_steps {count}, expected 1 to the {last} of the configuration"
            )
        return [last - i * (last - 1) // max(1, count - 1) for i in range(count)]

    def _earlier(
        self,
        x: Tensor,
        f: Tensor,
        residual: Tensor,
        step: int,
        before: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """State x of the chain at the step `before`."""
        estimate = f + residual
        if not self.config.full_gradient:
            x, f, estimate = x.detach(), f.detach(), estimate.detach()
        eta, eta_before = self.eta[step], self.eta[before]
        if self.config.stochastic:
            eps = _drawn(f, generator)
            return stochastic_step(x, estimate, eta, eta_before, self.kappa, eps)
        return deterministic_step(x, estimate, f, eta, eta_before)

    def _restored(self, features: Tensor, residual: Tensor) -> Tensor:
        """F + std r (B, C, h, w) of a residual (B, K or C, h, w) in the standardised space."""
        if self.config.num_components is not None:
            scaled = _per_channel(self.component_std) * residual
            residual = torch.einsum("kc,bkhw->bchw", self.basis, scaled)
        return features + _per_channel(self.std) * residual

    def _checked(self, features: Tensor) -> Tensor:
        if features.ndim != 4 or features.shape[1] != self.channels:
            raise InvalidRequest(
                f"found features of shape {tuple(features.shape)}, expected (B, {self.channels}, "
                "h, w), as FeaturePack returns them"
            )
        return features

    def _checked_steps(self, step: int | Tensor, features: Tensor) -> Tensor:
        """Steps (B,) int64 on the features' device."""
        last = self.config.effective_steps
        if isinstance(step, int):
            step = _filled(step, features)
        if step.shape != features.shape[:1] or not ((step >= 1) & (step <= last)).all():
            raise InvalidRequest(
                f"found steps {step.tolist()} for {features.shape[0]} maps, expected one of "
                f"1 to {last} for each"
            )
        return step.to(features.device)


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]  # (C, 1, 1)


def _filled(step: int, like: Tensor) -> Tensor:
    return torch.full((like.shape[0],), step, device=like.device)


def _checked_noise(noise: Tensor, like: Tensor) -> Tensor:
    if noise.shape != like.shape:
        raise InvalidRequest(
            f"found noise of shape {tuple(noise.shape)}, expected {tuple(like.shape)}, that of the "
            "standardised features"
        )
    return noise


def _drawn(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise in the shape of `like`, zero without a generator.

    Drawn on the generator's device, so that a seed on the CPU gives the same noise everywhere.
    """
    if generator is None:
        return torch.zeros_like(like)
    noise = torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype)
    return noise.to(like.device)
