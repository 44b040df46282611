"""The small diffusion family: texts, latents, training stages and the written folder."""

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.world.scene.weather import draw_weather
from nightrain.depthmodel.network.image_features import ImageFeatures
from nightrain.pipelines.small_diffusion.data import views
from nightrain.pipelines.small_diffusion.data.captions import caption, intensity, phrase
from nightrain.pipelines.small_diffusion.family import write_adapter, write_base, write_controlnet
from nightrain.pipelines.small_diffusion.networks import architecture as small
from nightrain.pipelines.small_diffusion.networks.discriminator import (
    PatchDiscriminator,
    scored_by_frozen,
)
from nightrain.pipelines.small_diffusion.options import STEPS
from nightrain.pipelines.small_diffusion.stages import rehearsal
from nightrain.pipelines.small_diffusion.stages.autoencoder import (
    crops,
    losses,
    normalise_latents,
    reconstruction_losses,
)
from nightrain.pipelines.small_diffusion.stages.decoder import losses as decoder_losses
from nightrain.pipelines.small_diffusion.stages.denoiser import Denoiser, TrainingBatch
from nightrain.pipelines.small_diffusion.stages.stage import Budget, Stage
from nightrain.pipelines.small_diffusion.stages.style import adapter_weights, add_adapter
from nightrain.pipelines.small_diffusion.start import Start

PROMPTS = ["At night, a street with 3 cars, shops", "In a rainy day, a street with 1 bus"] * 4


def test_known_words_are_single_tokens_and_any_text_is_read(tmp_path: Path) -> None:
    tokenizer = small.new_tokenizer(PROMPTS)
    assert tokenizer.tokenize("At night, a street") == [
        f"{w}</w>" for w in ["at", "night", ",", "a", "street"]
    ]
    ids = tokenizer("Zwölf unicorns {}%", truncation=True).input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id and len(ids) > 4
    tokenizer.save_pretrained(tmp_path)
    again = small.CLIPTokenizer.from_pretrained(tmp_path)
    assert again("At night, a zebra").input_ids == tokenizer("At night, a zebra").input_ids


@pytest.mark.parametrize("condition", views.CONDITIONS)
def test_phrases_and_intensity_are_true_of_the_weather(condition: Condition) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        weather = draw_weather(rng, condition)
        words = phrase(weather, rng)
        if condition is not Condition.CLEAR:
            assert words in CONDITIONS[condition].phrases
        if "heavy rain" in words:
            assert weather.rain_mm_per_h > 8
        if "dense fog" in words:
            assert weather.visibility_m < 110
        strength = intensity(weather)
        assert strength.startswith(("light ", "heavy ")) or strength == ""
        if condition in (Condition.CLEAR, Condition.NIGHT):
            assert strength == ""


def test_captions_name_objects_but_no_weather() -> None:
    scene: Any = SimpleNamespace(description="Rain, shops, parked cars, intersection")
    seen = Counter({"vehicle.car": 3, "human.pedestrian.adult": 1})
    made = {caption(scene, seen, np.random.default_rng(k)) for k in range(20)}
    assert made == {
        "a street with 3 cars, 1 pedestrian, shops, parked cars, intersection",
        "a street with shops, parked cars, intersection",
    }


def test_normalised_latents_have_unit_variance_and_decode_the_same() -> None:
    torch.manual_seed(0)
    vae: Any = small.new_autoencoder().eval().requires_grad_(False)
    vae.quant_conv.bias += torch.randn(32)
    vae.quant_conv.weight *= 3
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    pool: Any = PixelPool(pixels)
    images = pool.images(torch.arange(6))
    before = vae.encode(images).latent_dist
    decoded = vae.decode(before.mode()).sample
    normalise_latents(vae, pool)
    after = vae.encode(images).latent_dist
    torch.testing.assert_close(after.mode().mean((0, 2, 3)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.mode().std((0, 2, 3)), torch.ones(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(vae.decode(after.mode()).sample, decoded, atol=1e-4, rtol=1e-3)
    ratio = before.mode().std((0, 2, 3)) / before.std.mean((0, 2, 3))
    again = after.mode().std((0, 2, 3)) / after.std.mean((0, 2, 3))
    torch.testing.assert_close(again, ratio, rtol=1e-2, atol=0)


class PixelPool:
    """The images of a pool."""

    device = torch.device("cpu")

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.pixels[numbers].permute(0, 3, 1, 2) / 127.5 - 1


def _train(folder: Path, steps: int, stop_at: int | None = None) -> torch.Tensor:
    torch.manual_seed(0)
    net = nn.Linear(3, 1)

    def draw(generator: torch.Generator) -> dict[str, torch.Tensor]:
        if stop_at is not None and stage.step == stop_at:
            stage.save()
            raise KeyboardInterrupt
        return {"x": torch.randn(8, 3, generator=generator)}

    def loss(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": (net(inputs["x"])[:, 0] - inputs["x"].sum(1)).square().mean()}

    stage = Stage(
        name="s", folder=folder, networks={"net": net}, budget=Budget(steps=steps), rate=0.05
    )
    stage.run(draw, loss)
    return torch.cat([net.weight.detach().ravel(), net.bias.detach()])


def test_a_stage_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", 40)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "resumed", 40, stop_at=17)
    torch.testing.assert_close(_train(tmp_path / "resumed", 40), whole, rtol=0, atol=0)


@pytest.mark.parametrize("stages", [tuple(STEPS), ("decoder",)])
def test_a_rehearsal_runs_the_stages(
    stages: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "SIZE", (160, 64))
        rehearsal.rehearse(
            torch.device("cpu"),
            lambda net: net,
            batch=2,
            vae_batch=1,
            perceptual=False,
            stages=stages,
            steps=1,
        )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["stage"] for line in lines} == set(stages)


def test_a_budget_in_minutes_ends_by_time() -> None:
    assert Budget(steps=10, minutes=2.0).share(step=1000, seconds=60.0) == 0.5
    assert Budget(steps=10).share(step=5, seconds=1e9) == 0.5


def test_plain_diffusers_loads_the_written_family_and_draws(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = small.new_tokenizer(PROMPTS)
    unet = small.new_unet()
    write_base(
        tmp_path, small.new_autoencoder(), unet, small.new_text_encoder(tokenizer), tokenizer
    )
    write_controlnet(tmp_path, small.new_controlnet(unet))
    image_encoder = small.new_image_encoder()
    add_adapter(unet, image_encoder.config.projection_dim)
    write_adapter(tmp_path, adapter_weights(unet), image_encoder)
    net = ControlNetModel.from_pretrained(tmp_path / "controlnet-depth", dtype=torch.float32)
    pipe: Any = StableDiffusionControlNetPipeline.from_pretrained(
        tmp_path / "base", controlnet=net, dtype=torch.float32
    )
    pipe.load_ip_adapter(
        str(tmp_path / "ip-adapter"),
        subfolder="",
        weight_name="ip-adapter.safetensors",
        image_encoder_folder="image_encoder",
    )
    pipe.set_progress_bar_config(disable=True)
    control = Image.new("RGB", (64, 32))
    made = pipe(
        "At night",
        image=control,
        ip_adapter_image=control,
        num_inference_steps=2,
        height=32,
        width=64,
    )
    assert made.images[0].size == (64, 32)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert size <= 48_000_000
    write_controlnet(tmp_path, net)
    config = (tmp_path / "controlnet-depth/config.json").read_text()
    assert str(tmp_path) not in config  # where a network was loaded from is no part of it


def test_views_of_a_place_share_their_geometry_between_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SIZE", (56, 32))
    monkeypatch.setattr(views, "CONDITIONS", (Condition.CLEAR, Condition.NIGHT))
    views.write_place(tmp_path, 21)
    (made,) = views.read_places(tmp_path, held_out=False, seen=set())
    assert made.image.shape == (8, 32, 56, 3) and made.control.shape == (8, 32, 56)
    assert (made.control[:4] == made.control[4:]).all()  # the same streets
    assert made.image[:4].mean() > 2 * made.image[4:].mean()  # by day and at night
    depth_m = views.exact_depth_m(21)
    assert np.isinf(depth_m).any() and (depth_m > 0).all()
    assert all(
        (views.control_of(d) == c).all() for d, c in zip(depth_m, made.control, strict=False)
    )
    assert all("night" in p.lower() or "dark" in p.lower() for p in made.prompts[4:].ravel())
    seen = {"place-00021.npz"}
    assert list(views.read_places(tmp_path, held_out=False, seen=seen)) == []
    assert list(views.read_places(tmp_path, held_out=True, seen=set())) == []


def test_the_committed_weights_are_those_of_the_card() -> None:
    folder = Path(small.__file__).parents[1] / "weights"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    start = Start(folder)
    tokenizer = start.tokenizer([])
    assert tokenizer.tokenize("At night") == ["at</w>", "night</w>"]
    assert start.unet().config["in_channels"] == start.vae().config["latent_channels"]
    assert start.text_encoder(tokenizer).config.vocab_size == len(tokenizer)


class HostWork(TorchDispatchMode):
    """Fails where a CUDA graph could not be recorded: numbers read from, or built on, the host."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "lift_fresh", "equal"), name
        return func(*args, **(kwargs or {}))


def latent_batch(size: int, tokenizer: small.CLIPTokenizer) -> TrainingBatch:
    latents = torch.randn(size, small.LATENT_CHANNELS, 8, 8)
    words = tokenizer(PROMPTS[:1] * size, padding="max_length", truncation=True)
    numbers = torch.arange(size)
    ids = torch.tensor(words.input_ids)
    return TrainingBatch(latents, latents, 100 * numbers, ids, numbers, numbers > 0)


def test_a_step_of_the_denoiser_can_be_recorded_as_a_graph() -> None:
    torch.manual_seed(0)
    tokenizer, unet = small.new_tokenizer(PROMPTS), small.new_unet()
    denoiser = Denoiser(
        unet=unet,
        text_encoder=small.new_text_encoder(tokenizer),
        controlnet=small.new_controlnet(unet),
    )
    batch, controls = latent_batch(2, tokenizer), torch.rand(2, 3, 64, 64)
    keep = torch.tensor([True, False])
    with pytest.raises(AssertionError, match="_local_scalar_dense"), HostWork():
        float(batch.noisy.mean())
    with HostWork():
        made = denoiser.predict(batch, controls, keep)
        made.square().mean().backward()


def test_a_step_of_the_autoencoder_can_be_recorded_as_a_graph() -> None:
    torch.manual_seed(0)
    vae, features = small.new_autoencoder(), ImageFeatures()
    with HostWork():
        losses(vae, torch.rand(2, 3, 64, 64), features)["loss"].backward()


def test_a_step_of_the_decoder_can_be_recorded_as_a_graph() -> None:
    torch.manual_seed(0)
    vae, features, discriminator = small.new_autoencoder(), ImageFeatures(), PatchDiscriminator()
    inputs = {"images": torch.rand(2, 3, 64, 64), "noise": torch.full((2, 1, 1, 1), 0.2)}
    with HostWork():
        decoder_losses(vae, discriminator, inputs, features, share=0.4)["loss"].backward()


def gradient_of_the_decoder(total: torch.Tensor, vae: Any) -> torch.Tensor:
    return torch.autograd.grad(total, vae.decoder.conv_out.bias, retain_graph=True)[0]


def test_losses_of_the_decoder_reach_each_network_as_they_should() -> None:
    torch.manual_seed(0)
    vae: Any = small.new_autoencoder()
    discriminator = PatchDiscriminator()
    images = torch.rand(2, 3, 64, 64)
    inputs = {"images": images, "noise": torch.zeros(2, 1, 1, 1)}

    def found(share: float) -> Any:
        torch.manual_seed(1)
        return decoder_losses(vae, copy.deepcopy(discriminator), inputs, None, share)

    pixels_alone = gradient_of_the_decoder(found(0.0)["loss"], vae)
    torch.manual_seed(1)
    made = vae.decode(vae.encode(images).latent_dist.sample().detach()).sample
    expected = gradient_of_the_decoder(reconstruction_losses(made, images, None)["total"], vae)
    torch.testing.assert_close(pixels_alone, expected)
    both = gradient_of_the_decoder(found(0.4)["loss"], vae)
    assert float((both - pixels_alone).norm()) > 0.01 * float(pixels_alone.norm())
    found(0.4)["loss"].backward()
    assert all(weight.grad is None for weight in vae.encoder.parameters())


def test_the_discriminator_learns_only_by_its_own_loss() -> None:
    torch.manual_seed(0)
    discriminator, images = PatchDiscriminator(), torch.rand(2, 3, 64, 64, requires_grad=True)
    scored_by_frozen(discriminator, images).mean().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())


def test_crops_are_columns_of_the_images_some_mirrored() -> None:
    pixels = torch.arange(224, dtype=torch.uint8).expand(3, 4, 224)[..., None].expand(-1, -1, -1, 3)
    pool: Any = PixelPool(pixels)
    drawn = crops(pool, 64, torch.Generator().manual_seed(0))
    assert drawn.shape == (64, 3, 4, 128)
    steps = ((drawn.diff(dim=-1) * 127.5).round()).unique()
    assert steps.tolist() == [-1, 1]
    assert len(drawn[:, 0, 0, 0].unique()) > 30
