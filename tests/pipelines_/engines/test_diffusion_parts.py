"""The engine's small parts: schedules as tables, brightness, memory, bad pictures, styles."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, HeunDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nightrain.benchmarks.architectures import SCHEDULER
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import encode_jpeg
from nightrain.pipelines.engines.diffusion.batch_fit import largest_that_fits
from nightrain.pipelines.engines.diffusion.brightness import (
    drawn_level,
    mean_level,
    to_mean_level,
)
from nightrain.pipelines.engines.diffusion.embeddings import Latest
from nightrain.pipelines.engines.diffusion.models.styles import StylePool
from nightrain.pipelines.engines.diffusion.output import decode, image_problem
from nightrain.pipelines.engines.diffusion.steps import SCHEDULERS, Steps, make_scheduler, tabulate
from nightrain.pipelines.runs.batches import run_padded
from support.tiny_diffusion import picture


def by_table(steps: Steps, start: torch.Tensor, outputs: torch.Tensor, seed: int) -> torch.Tensor:
    """Latents after the last step, from the table."""
    generator = torch.Generator().manual_seed(seed)
    noises = torch.zeros_like(outputs)
    for k in range(len(steps)):
        if steps.draws_noise(k):
            noises[k] = torch.randn(start.shape, generator=generator)
    terms = torch.cat([start[None], outputs, noises]).double()
    return torch.tensordot(steps.weights[-1], terms, dims=1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("strength", [None, 0.5, 1.0])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_table_is_the_scheduler(name, strength: float | None, prediction: str) -> None:
    scheduler = make_scheduler(name, SCHEDULER | {"prediction_type": prediction})
    steps = tabulate(scheduler, 9, strength)
    generator = torch.Generator().manual_seed(1)
    outputs, start = torch.randn(9, 1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    scheduler.set_timesteps(9)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(steps.first)
    takes = "generator" in inspect.signature(scheduler.step).parameters
    latents = start
    for k in range(steps.first, 9):
        t = scheduler.timesteps[k]
        seen = scheduler.scale_model_input(latents, t)
        torch.testing.assert_close(seen, latents * steps.input_scales[k])
        options = {"generator": generator} if takes else {}
        latents = scheduler.step(outputs[k], t, latents, **options).prev_sample
    outputs[: steps.first] = 0
    torch.testing.assert_close(
        by_table(steps, start, outputs, 1).float(), latents, atol=2e-5, rtol=1e-5
    )
    assert steps.first == (4 if strength == 0.5 else 0) + (strength == 0.5)


def test_the_start_of_image2image_is_the_schedulers_noised_image() -> None:
    scheduler = make_scheduler("euler", SCHEDULER)
    steps = tabulate(scheduler, 10, 0.5)
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(steps.first)
    image, noise = torch.randn(2, 1, 4, 2, 2)
    expected = scheduler.add_noise(image, noise, scheduler.timesteps[steps.first :][:1])
    torch.testing.assert_close(steps.start_image * image + steps.start_noise * noise, expected)


def test_a_scheduler_with_two_calls_per_step_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="19 calls for 10 steps"):
        tabulate(HeunDiscreteScheduler(), 10)


def test_latents_are_never_clipped_like_pixels() -> None:
    assert DDIMScheduler().config.clip_sample and DDPMScheduler().config.clip_sample
    assert not make_scheduler("ddim", DDIMScheduler().config).config.clip_sample


@given(st.integers(0, 2**32), st.floats(0.05, 0.6), st.floats(0.02, 0.6))
def test_gamma_brings_the_mean_to_the_target(seed: int, scale: float, target: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(scale, 0.15, (24, 32, 3)), 0.004, 0.996).astype(np.float16)
    image = np.rint(255 * values.astype(np.float32)).astype(np.uint8)
    changed, gamma = to_mean_level(values, target, (0.05, 20.0))
    assert abs(mean_level(changed) - target) < 0.5 / 255
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(changed.ravel()[order].astype(int)) >= 0).all()  # the order of tones is kept
    assert (gamma > 1) == (mean_level(changed) < mean_level(image)) or abs(gamma - 1) < 0.02


def test_gamma_keeps_black_and_white() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 255
    values = image / np.float32(255)
    changed, _ = to_mean_level(values, 0.2, (0.5, 3.0))  # out of reach: only 0 and 255 are there
    assert np.array_equal(changed, image)


def test_gamma_has_bounds_and_leaves_dark_tones_smooth() -> None:
    values = np.linspace(0, 0.1, 32 * 32 * 3, dtype=np.float16).reshape(32, 32, 3)
    changed, gamma = to_mean_level(values, 0.4, (0.5, 3.0))
    assert abs(gamma - 0.5) < 1e-3 and mean_level(changed) < 0.3
    assert np.diff(np.unique(changed)).max() <= 2  # 8-bit values 0 to 26 would be 16 apart
    bright, gamma = to_mean_level(1 - values, 0.1, (0.5, 3.0))
    assert abs(gamma - 3) < 1e-3 and mean_level(bright) > 0.8


def test_each_night_has_a_level_of_its_own() -> None:
    quantiles = (0.07, 0.11, 0.14, 0.16, 0.18, 0.22, 0.29)
    levels = [drawn_level(quantiles, seed) for seed in range(400)]
    assert min(levels) < 0.09 and max(levels) > 0.25
    assert abs(np.mean(levels) - 0.165) < 0.006 and np.std(levels) > 0.03
    assert levels[7] == drawn_level(quantiles, 7)


def test_batches_are_padded_and_split_where_memory_is_out() -> None:
    calls: list[list[int]] = []

    def run(items: list[int]) -> list[int]:
        calls.append(items)
        if len(items) > 2 and 0 in items:
            raise torch.OutOfMemoryError("injected")
        return [10 * i for i in items]

    made = run_padded(range(6), 5, run)
    assert made == [(0, 2), (10, 2), (20, 2), (30, 3), (40, 3), (50, 5)]
    assert [len(c) for c in calls] == [5, 3, 2, 2, 3, 5]
    assert calls[-1] == [5] * 5


@pytest.mark.parametrize(("room", "expected"), [(64, 32), (32, 32), (9, 8), (1, 1)])
def test_the_largest_batch_that_fits(room: int, expected: int) -> None:
    def run(size: int) -> None:
        if size > room:
            raise torch.OutOfMemoryError("injected")

    assert largest_that_fits(run, 32) == expected


def test_nothing_fits() -> None:
    def run(_: int) -> None:
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(torch.OutOfMemoryError):
        largest_that_fits(run, 4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((9, 9, 3), np.uint8), "black"),
        (np.full((9, 9, 3), 90, np.uint8), "flat"),
        (np.tile(np.uint8([0, 255, 255]), (9, 9, 1)), "saturated"),
        (picture(0), ""),
        ((picture(0) // 12), ""),  # a dark night is a picture
    ],
)
def test_bad_pictures_have_a_name(image: np.ndarray, said: str) -> None:
    problem = image_problem(image)
    assert said in problem and bool(said) == bool(problem)


@pytest.mark.parametrize(("rows", "most", "calls"), [(6, 4, [3, 3]), (5, 4, [1] * 5), (4, 8, [4])])
def test_decoding_goes_in_equal_parts(rows: int, most: int, calls: list[int]) -> None:
    seen: list[int] = []

    def decoder(z: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.append(len(z))
        return (z[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3),)

    latents = torch.linspace(-2, 2, rows * 16).reshape(rows, 4, 2, 2)
    latents[0, 0, 0, 0] = torch.inf
    pictures = decode(decoder, latents, torch.float32, 2.0, most).pictures()
    assert seen == calls
    assert [p.finite_latents for p in pictures] == [False] + [True] * (rows - 1)
    expected = ((latents[1, :3] / 2 / 2 + 0.5).clamp(0, 1) * 255).round()
    assert np.array_equal(pictures[1].image[::8, ::8], expected.permute(1, 2, 0).numpy())


def test_latest_keeps_the_latest() -> None:
    latest: Latest[int] = Latest(2)
    made: list[str] = []

    def compute(key: str) -> int:
        made.append(key)
        return len(made)

    for key in "abacab":
        latest.get(key, lambda key=key: compute(key))
    assert made == ["a", "b", "c", "b"]


def pool(folder: Path, count: int = 5) -> StylePool:
    (folder / "night").mkdir()
    for number in range(count):
        (folder / "night" / f"{number}.jpg").write_bytes(encode_jpeg(picture(number)))
    return StylePool(folder)


def test_a_style_is_drawn_by_the_seed(tmp_path: Path) -> None:
    styles = pool(tmp_path)
    drawn = [styles.draw(Condition.NIGHT, seed) for seed in range(200)]
    assert drawn == [styles.draw(Condition.NIGHT, seed) for seed in range(200)]
    counts = [drawn.count(name) for name in styles.names(Condition.NIGHT)]
    assert len(counts) == 5 and min(counts) > 20
    assert styles.read(drawn[0]).shape == (48, 64, 3)


def test_the_pools_digest_is_its_contents(tmp_path: Path) -> None:
    before = pool(tmp_path).digest(Condition.NIGHT)
    assert before == StylePool(tmp_path).digest(Condition.NIGHT)
    (tmp_path / "night" / "0.jpg").write_bytes(encode_jpeg(picture(99)))
    assert before != StylePool(tmp_path).digest(Condition.NIGHT)


def test_an_empty_or_damaged_pool(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no JPEG in"):
        StylePool(tmp_path).draw(Condition.RAIN, 0)
    styles = pool(tmp_path, 1)
    name = styles.draw(Condition.NIGHT, 0)
    (tmp_path / "night" / "0.jpg").write_bytes(b"no image")
    with pytest.raises(DamagedInput):
        styles.read(name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(picture(0)).save(tmp_path / name, exif=turned)
    with pytest.raises(DamagedInput, match="orientation is 6"):
        styles.read(name)
    Image.fromarray(picture(0)).convert("L").save(tmp_path / name)
    assert styles.read(name).shape == (48, 64, 3)
