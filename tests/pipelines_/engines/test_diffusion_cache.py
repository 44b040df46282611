"""Feature caching: exact where its window is empty, and DeepCache where it is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from nightrain.pipelines.engines.diffusion.denoise import denoise
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings, FeatureCache
from nightrain.pipelines.engines.diffusion.samples import SampleMaker
from nightrain.pipelines.engines.diffusion.speed import make_networks
from support.tiny_diffusion import control, ip_adapter, picture, request, settings

STEPS = 6
CACHE = FeatureCache(interval=2, start=0.3, end=0.9)
WHOLE = [0, 1, 3, 5]  # before 0.3 x 6, from 0.9 x 6 on, and every second step between


def engine(name: str = "sd15", **changes: Any) -> DiffusionEngine:
    wanted = settings(name, **{"steps": STEPS} | changes)
    return DiffusionEngine(wanted, device="cpu", offline=True, batch_size=3)


def latents(made_by: DiffusionEngine, wanted: DiffusionSettings | None = None) -> torch.Tensor:
    """Latents (2, 4, h, w) of two requests by an engine's models, with its settings or others."""
    wanted = wanted or made_by.settings
    maker = SampleMaker(made_by.models, wanted)
    samples = [maker.make(request(n, **styled(n, wanted))) for n in range(2)]
    return denoise(make_networks(made_by.models, wanted), samples, wanted)


def styled(number: int, wanted: DiffusionSettings) -> dict[str, Any]:
    images = tuple(picture(100 + number + i) for i in range(len(wanted.controls)))
    style = picture(number) if wanted.ip_adapter else None
    return {"control_images": images, "style_image": style}


@contextmanager
def last_inner_output_kept(unet: Any, whole: list[int]) -> Iterator[None]:
    """DeepCache by hand: all of the UNet is run, and at some steps one output is an older one."""
    steps, kept = iter(range(10_000)), [torch.empty(0)]

    def replace(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if next(steps) in whole:
            kept[0] = output
        return kept[0]

    hook = unet.up_blocks[-2].upsamplers[0].register_forward_hook(replace)
    yield
    hook.remove()


FAMILIES: dict[str, Callable[[], DiffusionEngine]] = {
    "sd15": engine,
    "one that ends early": lambda: engine(controls=(control("sd15", end=0.5),)),
    "two, one begins late": lambda: engine(
        controls=(control("sd15"), control("sd15", "canny", start=0.5))
    ),
    "style": lambda: engine(ip_adapter=ip_adapter("sd15")),
    "not guided": lambda: engine(guidance=1.0, scheduler="lcm"),
    "sdxl": lambda: engine("sdxl"),
    "union": lambda: engine(
        "sdxl-union", controls=(control("sdxl-union"), control("sdxl-union", "canny"))
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_left_out_changes_nothing_but_the_kept_features(name: str) -> None:
    plain = FAMILIES[name]()
    exact = latents(plain)
    with last_inner_output_kept(plain.models.pipe.unet, WHOLE):
        expected = latents(plain)
    cached = plain.settings.model_copy(update={"feature_cache": CACHE})
    torch.testing.assert_close(latents(plain, cached), expected, atol=0, rtol=0)
    assert (expected - exact).abs().max() > 1e-3
    torch.testing.assert_close(latents(plain), exact, atol=0, rtol=0)  # the hooks are gone again


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_empty_window_is_exact(share: float) -> None:
    plain = engine()
    empty = FeatureCache(start=share, end=share)
    cached = plain.settings.model_copy(update={"feature_cache": empty})
    torch.testing.assert_close(latents(plain, cached), latents(plain), atol=0, rtol=0)


def test_a_cache_costs_less_the_longer_it_is_kept() -> None:
    plain = engine(steps=12)
    costs = []
    for cache in (None, FeatureCache(), FeatureCache(interval=4)):
        wanted = plain.settings.model_copy(update={"feature_cache": cache})
        with FlopCounterMode(display=False) as counter:
            latents(plain, wanted)
        costs.append(counter.get_total_flops())
    assert costs[1] < 0.9 * costs[0] and costs[2] < 0.97 * costs[1]


def test_inner_levels_of_unet_and_controlnet_run_at_whole_steps_only() -> None:
    cached = engine(feature_cache=CACHE)
    unet, net = cached.models.pipe.unet, cached.models.controlnets[0]
    calls = {"outer": 0, "inner": 0, "middle": 0, "control": 0}
    layers = {
        "outer": unet.down_blocks[0].resnets[0].conv1,
        "inner": unet.up_blocks[0].resnets[0].conv1,
        "middle": unet.mid_block.resnets[0].conv1,
        "control": net.mid_block.resnets[0].conv1,  # type: ignore[union-attr, index]
    }

    def count(name: str) -> Callable[..., None]:
        return lambda *_: calls.update({name: calls[name] + 1})

    hooks = [layer.register_forward_hook(count(name)) for name, layer in layers.items()]
    latents(cached)
    for hook in hooks:
        hook.remove()
    whole = len(WHOLE)
    assert calls == {"outer": STEPS, "inner": whole, "middle": whole, "control": whole}


def test_a_cached_picture_depends_on_its_request_alone() -> None:
    cached = engine(feature_cache=CACHE)
    requests = [request(n) for n in range(4)]
    together = [v.image for v in cached.generate(requests)]
    for number in (3, 0):
        alone = cached.generate([requests[number]])[0].image
        np.testing.assert_array_equal(alone, together[number])


def test_a_bad_cached_picture_is_made_again() -> None:
    cached = engine(feature_cache=CACHE)
    expected = cached.generate([request(0)])[0].image
    spoilt = iter([True])

    def spoil(_module: Any, _inputs: Any, output: Any) -> Any:
        return tuple(o * torch.nan for o in output) if next(spoilt, False) else output

    hook = cached.models.pipe.unet.register_forward_hook(spoil)
    again = cached.generate([request(0)])[0]
    hook.remove()
    assert again.provenance["made_again"] == "the latents are not finite"
    assert np.abs(again.image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compile": "default"}, "compile"),
        ({"mode": "image2image"}, "image2image"),
        ({"guidance_until": 0.5}, "guidance_until"),
        ({"feature_cache": {"start": 0.8, "end": 0.2}}, "must not be above"),
        ({"feature_cache": {"interval": 1}}, "greater than or equal to 2"),
    ],
)
def test_what_a_cache_does_not_go_with(changes: dict[str, Any], said: str) -> None:
    wanted: dict[str, Any] = {"feature_cache": {}} | changes
    with pytest.raises(ValidationError, match=said):
        DiffusionSettings(**wanted)
    DiffusionSettings(feature_cache=FeatureCache(), guidance_until=0.5, guidance=1.0)
