"""The engine's loop against the pipelines of diffusers, called with the same seeds and settings."""

from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from nightrain.benchmarks.random_family import IP_ADAPTER_FILE
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.diffusion.controlnets import UNION_MODES
from nightrain.pipelines.engines.diffusion.denoise import denoise
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.samples import SampleMaker, strength_of
from nightrain.pipelines.engines.diffusion.speed import make_networks
from nightrain.pipelines.engines.diffusion.steps import SCHEDULERS
from support.tiny_diffusion import control, family, ip_adapter, picture, request, settings

CLASSES = {
    ("sd15", "text2image"): "StableDiffusionControlNetPipeline",
    ("sd15", "image2image"): "StableDiffusionControlNetImg2ImgPipeline",
    ("sdxl", "text2image"): "StableDiffusionXLControlNetPipeline",
    ("sdxl", "image2image"): "StableDiffusionXLControlNetImg2ImgPipeline",
    ("sdxl-union", "text2image"): "StableDiffusionXLControlNetUnionPipeline",
    ("sdxl-union", "image2image"): "StableDiffusionXLControlNetUnionImg2ImgPipeline",
}


def ours(engine: DiffusionEngine, requests: Sequence[Request]) -> np.ndarray:
    """Images (B, H, W, 3) in [0, 1], before they are rounded."""
    models = engine.models
    maker = SampleMaker(models, engine.settings)
    with torch.no_grad():
        networks = make_networks(models, engine.settings)
        latents = denoise(networks, [maker.make(r) for r in requests], engine.settings)
        images = models.pipe.vae.decode(latents / models.pipe.vae.config.scaling_factor).sample
    return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def reference(wanted: DiffusionSettings, requests: Sequence[Request]) -> np.ndarray:
    """The same from a plain pipeline that loads the same folders by itself."""
    pipe = plain_pipeline(wanted)
    if wanted.ip_adapter is None and wanted.family != "sdxl-union":
        return pipe(**arguments(wanted, requests)).images
    # One by one: the pipelines take one style image for a whole batch, and in a union network the
    # samples of a batch would mix (union.py).
    return np.concatenate([pipe(**arguments(wanted, [r])).images for r in requests])


def arguments(wanted: DiffusionSettings, requests: Sequence[Request]) -> dict[str, Any]:
    images: list[Any] = [
        [Image.fromarray(r.control_images[i]) for r in requests]
        for i in range(len(wanted.controls))
    ]
    given: dict[str, Any] = {
        "prompt": [r.prompt for r in requests],
        "negative_prompt": None
        if wanted.negative_prompt is None
        else [wanted.negative_prompt] * len(requests),
        "num_inference_steps": wanted.steps,
        "guidance_scale": wanted.guidance,
        "generator": [torch.Generator().manual_seed(r.seed) for r in requests],
        "output_type": "np",
        "control_guidance_start": [c.start for c in wanted.controls],
        "control_guidance_end": [c.end for c in wanted.controls],
        "controlnet_conditioning_scale": [c.scale for c in wanted.controls],
    }
    if wanted.family == "sdxl-union":
        given["control_mode"] = [UNION_MODES[c.kind] for c in wanted.controls]
    elif len(wanted.controls) > 1:  # row by row, each with its images
        images = [[Image.fromarray(c) for c in r.control_images] for r in requests]
        images = images[0] if wanted.mode == "image2image" else images  # takes one row only
    else:
        images = images[0]
        given["controlnet_conditioning_scale"] = wanted.controls[0].scale
    if wanted.eta:
        given["eta"] = wanted.eta
    if wanted.ip_adapter and requests[0].style_image is not None:
        given["ip_adapter_image"] = Image.fromarray(requests[0].style_image)
    if wanted.mode == "image2image":
        given["image"] = [Image.fromarray(r.image) for r in requests]
        given["strength"] = strength_of(requests[0], wanted)
    plain_text2image = wanted.mode == "text2image" and wanted.family != "sdxl-union"
    return given | {"image" if plain_text2image else "control_image": images}


def plain_pipeline(wanted: DiffusionSettings) -> Any:
    root = family(wanted.family)
    options: dict[str, Any] = {}
    if wanted.family == "sd15":
        options = {"safety_checker": None, "requires_safety_checker": False}
    kind = ControlNetUnionModel if wanted.family == "sdxl-union" else ControlNetModel
    nets = [kind.from_pretrained(c.weights.id_or_folder) for c in wanted.controls]
    one = len(nets) == 1 or wanted.family == "sdxl-union"
    if wanted.ip_adapter:
        encoder = root / "ip-adapter" / "image_encoder"
        options["image_encoder"] = CLIPVisionModelWithProjection.from_pretrained(encoder)
    pipe = getattr(diffusers, CLASSES[wanted.family, wanted.mode]).from_pretrained(
        root / "base", controlnet=nets[0] if one else nets, **options
    )
    name, changes = SCHEDULERS[wanted.scheduler]
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **changes)
    if wanted.ip_adapter:
        pipe.load_ip_adapter(
            str(root / "ip-adapter"),
            subfolder="",
            weight_name=IP_ADAPTER_FILE,
            image_encoder_folder=None,
        )
        pipe.set_ip_adapter_scale(wanted.ip_adapter.scale)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def check(wanted: DiffusionSettings, requests: Sequence[Request]) -> None:
    expected = reference(wanted, requests)
    made = ours(DiffusionEngine(wanted, device="cpu", offline=True), requests)
    assert expected.std() > 0.02  # pictures, not a grey nothing that anything would equal
    np.testing.assert_allclose(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_gives_what_the_pipeline_gives(scheduler: str) -> None:
    check(settings(scheduler=scheduler, steps=6), [request(0), request(1)])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_guidance(guidance: float) -> None:
    check(settings(guidance=guidance), [request(0), request(1)])


@pytest.mark.parametrize(
    ("scheduler", "eta"), [("tcd", 0.3), ("tcd", 1.0), ("ddim", 0.5), ("ddim-trailing", 1.0)]
)
def test_noise_by_eta(scheduler: str, eta: float) -> None:
    check(settings(scheduler=scheduler, eta=eta, steps=6), [request(0), request(1)])


@pytest.mark.parametrize("window", [(0.0, 0.6), (0.3, 1.0), (0.2, 0.7)])
def test_a_window_of_image2image_is_a_share_of_the_steps_that_run(
    window: tuple[float, float],
) -> None:
    start, end = window
    wanted = settings(
        mode="image2image",
        strength=(0.4, 0.4),
        steps=10,
        controls=(control("sd15", start=start, end=end),),
    )
    check(wanted, [request(0), request(1)])


def test_windows_of_rows_that_begin_at_different_steps() -> None:
    controls = (control("sd15", end=0.6), control("sd15", "canny", scale=0.5, start=0.5))
    wanted = settings(mode="image2image", strength=(0.3, 0.9), steps=10, controls=controls)
    rows = [
        request(i, severity=severity, control_images=(picture(i), picture(9 + i)))
        for i, severity in enumerate((0.0, 0.5, 1.0))
    ]
    made = ours(DiffusionEngine(wanted, device="cpu", offline=True), rows)
    expected = np.concatenate([reference(wanted, [row]) for row in rows])
    np.testing.assert_allclose(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("negative", ["", None, "blurry"])
def test_negative_prompts_of_sdxl(negative: str | None) -> None:
    check(settings("sdxl", negative_prompt=negative), [request(0), request(1)])


def test_image2image() -> None:
    wanted = settings(mode="image2image", strength=(0.3, 0.9), steps=10, scheduler="unipc")
    check(wanted, [request(0, severity=0.5), request(1, severity=0.5)])


def test_ip_adapter_with_a_style_for_each_row() -> None:
    styled = [request(i, style_image=picture(50 + i, 40, 40)) for i in range(2)]
    check(settings(ip_adapter=ip_adapter("sd15")), styled)


def test_two_controls_with_scales_and_windows() -> None:
    controls = (
        control("sd15", scale=0.8, start=0.0, end=0.75),
        control("sd15", "canny", scale=0.4, start=0.5, end=1.0),
    )
    both = [request(i, control_images=(picture(i), picture(9 + i))) for i in range(2)]
    check(settings(controls=controls), both)


def test_one_control_that_ends_early() -> None:
    check(settings(controls=(control("sd15", end=0.5),)), [request(0), request(1)])


@pytest.mark.parametrize("mode", ["text2image", "image2image"])
def test_sdxl(mode: str) -> None:
    wanted = settings("sdxl", mode=mode, scheduler="euler", ip_adapter=ip_adapter("sdxl"))
    styled = [request(i, severity=1.0, style_image=picture(50 + i)) for i in range(2)]
    check(wanted, styled)


@pytest.mark.parametrize("mode", ["text2image", "image2image"])
def test_sdxl_union_with_two_controls(mode: str) -> None:
    controls = (control("sdxl-union", scale=0.9), control("sdxl-union", "canny", scale=0.5))
    both = [request(i, severity=1.0, control_images=(picture(i), picture(9 + i))) for i in (0, 1)]
    check(settings("sdxl-union", mode=mode, controls=controls), both)


def test_sdxl_union_with_one_control_that_ends_early() -> None:
    check(settings("sdxl-union", controls=(control("sdxl-union", end=0.5),)), [request(0)])
