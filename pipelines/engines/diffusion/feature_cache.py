"""Feature cache: at some steps, only the outermost level of the UNet is run.

The features of a UNet's inner levels change slowly over the steps; DeepCache (Ma, Fang and Wang,
arXiv 2312.00858) therefore reuses their output. This uses the hooks of diffusers' TaylorSeer cache
at order 0, on layers named for a UNet: no other cache of diffusers accepts layer names. Skipped
layers return zeros, which are never read; the last inner layer returns its cached output. A
ControlNet's inner levels feed only the UNet's inner levels, so they are skipped at the same steps
without changing the result.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from diffusers.hooks.hooks import HookRegistry
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig, apply_taylorseer_cache
from diffusers.models.cache_utils import CacheMixin

from nightrain.pipelines.engines.diffusion.models.parts import FeatureCache
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings

_HOOK = "taylorseer_cache"  # its name in diffusers
_LAYERS = r"(resnets\.\d+|attentions\.\d+\.(proj_in|proj_out|transformer_blocks\.\d+))"


class HookedNetwork:
    """UNet or ControlNet with hooks on some layers; called like the network itself."""

    def __init__(self, network: Any, config: TaylorSeerCacheConfig) -> None:
        self._network = network
        apply_taylorseer_cache(network, config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network; every call is the next step."""
        with CacheMixin.cache_context(self._network, "every row"):
            return self._network(*args, **kwargs)

    def forget(self) -> None:
        """Reset the cache: the next call is the first step of another batch."""
        HookRegistry.check_if_exists_or_initialize(self._network).reset_stateful_hooks()


def forget_features(networks: Iterable[Any]) -> None:
    """Reset the cache of each hooked network."""
    for network in networks:
        if isinstance(network, HookedNetwork):
            network.forget()


def hooked_unet(unet: Any, settings: DiffusionSettings, cache: FeatureCache) -> HookedNetwork:
    """Hook the UNet so that its inner levels are skipped at the steps of `cache`."""
    last = len(unet.up_blocks) - 2  # last inner level; its upsampler feeds the outermost one
    inner = rf"(down_blocks\.[1-9]|mid_block|up_blocks\.[0-{last}])\."
    skipped = [inner + _LAYERS, r"down_blocks\.\d\.downsamplers\.0"]
    skipped += [rf"up_blocks\.{n}\.upsamplers\.0" for n in range(last)]
    kept = [rf"up_blocks\.{last}\.upsamplers\.0"]
    return HookedNetwork(unet, _config(settings, cache, skipped, kept))


def hooked_controlnets(
    nets: Sequence[Any], settings: DiffusionSettings, cache: FeatureCache
) -> tuple[Any, ...]:
    """Hook each ControlNet that runs from step 0, so that it is skipped with the inner levels.

    One that starts later always runs, because its hook would count steps from its own start.
    """
    skipped = [r"(down_blocks\.[1-9]|mid_block)\." + _LAYERS, r"down_blocks\.\d\.downsamplers\.0"]
    config = _config(settings, cache, skipped, kept=["none"])
    starts = [control.start for control in settings.controls]
    if len(nets) < len(starts):  # one union network serves all
        starts = [max(starts)]
    made: list[Any] = []
    for net, start in zip(nets, starts, strict=True):
        made.append(HookedNetwork(net, config) if start == 0 else net)
    return tuple(made)


def remove_hooks(network: Any) -> None:
    """Remove a network's hooks from earlier settings."""
    if any(hasattr(module, "_diffusers_hook") for module in network.modules()):
        HookRegistry.check_if_exists_or_initialize(network).remove_hook(_HOOK, recurse=True)


def _config(
    settings: DiffusionSettings, cache: FeatureCache, skipped: list[str], kept: list[str]
) -> TaylorSeerCacheConfig:
    return TaylorSeerCacheConfig(
        cache_interval=cache.interval,
        disable_cache_before_step=max(1, round(cache.start * settings.steps)),
        disable_cache_after_step=round(cache.end * settings.steps),
        max_order=0,
        taylor_factors_dtype=torch.float32,  # also for a second try in float32
        skip_predict_identifiers=skipped,
        cache_identifiers=kept,
    )
