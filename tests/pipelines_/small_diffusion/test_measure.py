"""Measures of the small family: synthetic inputs with known answers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import CONDITIONS as PROPERTIES
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.network.linear_classifier import fit_classifier
from nightrain.pipelines.small_diffusion.data.captions import without_phrase
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS, Views
from nightrain.pipelines.small_diffusion.measure.__main__ import MeasureOptions, measure
from nightrain.pipelines.small_diffusion.measure.agreement import condition_figures, depth_figures
from nightrain.pipelines.small_diffusion.measure.colour import colour_distance, style_figures
from nightrain.pipelines.small_diffusion.measure.depth_network import (
    WIDTHS,
    aligned_errors,
    train_decoder,
)
from nightrain.pipelines.small_diffusion.measure.figures import Figure, table
from nightrain.pipelines.small_diffusion.measure.frames import (
    Frames,
    frames_of,
    log_inverse_depth,
    read_fitted,
)
from nightrain.pipelines.small_diffusion.measure.judges import softened
from nightrain.pipelines.small_diffusion.measure.kernel_distance import kid, kid_of_halves
from nightrain.pipelines.small_diffusion.measure.monotone import ordered_share
from nightrain.pipelines.small_diffusion.measure.parts import Parts
from nightrain.pipelines.small_diffusion.measure.samples import RecipeNumbers
from nightrain.pipelines.small_diffusion.sampling import Drawing
from nightrain.pipelines.small_diffusion.sheet import encoded, grid

NUM_PLACES, SHOTS, HEIGHT, WIDTH = 6, 2, 16, 24


def place_views(place: int) -> Views:
    """Views of a place, with the condition as red, the shot as green, the place as blue."""
    image = np.zeros((len(CONDITIONS), SHOTS, HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 30 * np.arange(len(CONDITIONS))[:, None, None, None]
    image[..., 1] = 10 * np.arange(SHOTS)[:, None, None]
    image[..., 2] = place
    control = np.random.default_rng(place).integers(0, 256, (SHOTS, HEIGHT, WIDTH))
    prompts = [f"{c}, a street of {place}" for c in CONDITIONS for _ in range(SHOTS)]
    return Views(
        image=image.reshape(-1, HEIGHT, WIDTH, 3),
        control=np.tile(control.astype(np.uint8), (len(CONDITIONS), 1, 1)),
        condition=np.repeat(np.arange(len(CONDITIONS)), SHOTS),
        group=np.repeat(np.arange(len(CONDITIONS)), SHOTS) + place * len(CONDITIONS),
        prompts=np.array([[prompt] * 3 for prompt in prompts]),
    )


@pytest.fixture
def frames() -> Frames:
    return frames_of([place_views(place) for place in range(NUM_PLACES)], Path("views"))


def test_frames_are_arranged_by_shot_and_then_by_place(frames: Frames) -> None:
    assert len(frames) == NUM_PLACES * SHOTS
    assert frames.places.tolist() == [*range(NUM_PLACES)] * SHOTS
    night = frames.true(Condition.NIGHT)[:, 0, 0]
    assert night[:, 0].tolist() == [30] * len(frames)
    assert night[:, 1].tolist() == [0] * NUM_PLACES + [10] * NUM_PLACES
    assert night[:, 2].tolist() == frames.places.tolist()
    assert frames.prompt(7, Condition.RAIN) == (
        f"{PROPERTIES[Condition.RAIN].phrases[0]}, a street of 1"
    )
    assert frames.prompt(7, None) == "a street of 1"
    for place in (0, 1):
        expected = place_views(place).control[1]
        assert (frames.controls[NUM_PLACES + place] == expected).all()


def test_a_caption_is_that_of_the_first_prompt_that_has_one() -> None:
    assert without_phrase(["By day", "By day, a street, shops"]) == "a street, shops"
    assert without_phrase(["By day"]) == "a street"


def test_too_few_places_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"1 held-out places.*--places 80"):
        frames_of([place_views(0)], tmp_path)
    with pytest.raises(InvalidRequest, match=r"0 training places.*--places 80"):
        read_fitted(tmp_path)


def test_a_folder_without_a_family_is_refused(tmp_path: Path) -> None:
    options = MeasureOptions(
        family=tmp_path, views=tmp_path, out=tmp_path, samples=8, places=0, processes=1, sheet=False
    )
    with pytest.raises(InvalidRequest, match=r"not a family folder: base/model_index.json"):
        measure(options)


def test_kid_is_zero_for_one_distribution_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, 20))
    near, shifted, far = kid(a, b), kid(a, b + 0.5), kid(a, b + 1.5)
    assert abs(near) < 0.05 * shifted
    assert shifted < far / 2


def test_kid_compares_different_places_only() -> None:
    """A copy of the true pictures gets the floor, and not less for showing the same places."""
    rng = np.random.default_rng(1)
    places = np.repeat(np.arange(10), 6)
    true = rng.normal(size=(60, 8)) + 3 * rng.normal(size=(10, 8))[places]
    assert kid_of_halves(true.copy(), true, places) == kid_of_halves(true, true, places)
    floor, spread = kid_of_halves(true, true, places)
    assert kid(true, true.copy()) < floor
    assert kid_of_halves(true + 3, true, places)[0] > floor + spread


def test_depth_errors_are_free_of_scale_and_shift() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(3, 8, 10))
    estimates = np.stack([2.5 * target[0] - 4, np.full_like(target[1], 7), -target[2]])
    np.testing.assert_allclose(aligned_errors(estimates, target), [0, 1, 1], atol=1e-5)
    noise = rng.normal(size=target.shape)
    slope = [np.polyfit((t + n).ravel(), t.ravel(), 1) for t, n in zip(target, noise, strict=True)]
    fitted = [a * (t + n) + b for (a, b), t, n in zip(slope, target, noise, strict=True)]
    expected = [np.var(f - t) / np.var(t) for f, t in zip(fitted, target, strict=True)]
    np.testing.assert_allclose(aligned_errors(target + noise, target), expected, rtol=1e-6)


def test_log_inverse_depth_averages_pixels_and_has_a_floor() -> None:
    control = np.zeros((1, 4, 4), np.uint8)
    control[0, :2, :2] = [[255, 255], [255, 255]]
    found = log_inverse_depth(control)
    np.testing.assert_allclose(found[0], np.log([[1.02, 0.02], [0.02, 0.02]]), rtol=1e-6)


def test_the_decoder_learns_depth_that_the_features_hold() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(24, width, 8 // 2**n, 16 // 2**n) for n, width in enumerate(WIDTHS)]
    targets = torch.nn.functional.interpolate(maps[0][:, :1], scale_factor=2)[:, 0]
    decoder = train_decoder(maps, targets, steps=120)
    errors = aligned_errors(decoder(maps).numpy(), targets.numpy())
    assert errors.mean() < 0.25
    others = aligned_errors(decoder(maps).numpy(), targets.roll(1, 0).numpy())
    assert others.mean() > 0.8


def test_half_of_the_pictures_are_softened() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    found = softened(images, np.random.default_rng(1))
    same = (found == images).all((1, 2, 3))
    assert 10 <= same.sum() <= 30
    assert found[~same].std() < 0.6 * images.std()


def test_the_classifier_separates_clusters_of_features() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = 10 * torch.randn(3, 5, generator=generator)
    features = centres[labels] + torch.randn(90, 5, generator=generator)
    classifier = fit_classifier(features[:60], labels[:60], 3)
    found = classifier.probabilities(features[60:])
    assert (found.argmax(1) == labels[60:]).all()
    torch.testing.assert_close(found.sum(1), torch.ones(30))


def test_colour_distance_is_that_of_means_and_spreads() -> None:
    grey, white = np.full((4, 4, 3), 119, np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert colour_distance(grey, grey) == pytest.approx(0, abs=1e-3)
    assert colour_distance(grey, white) == pytest.approx(50, abs=0.5)  # L 50 and L 100
    stripes = grey.copy()
    stripes[:, ::2], stripes[:, 1::2] = 0, 255
    assert colour_distance(stripes, grey) == pytest.approx(50, abs=0.5)  # L is 0 or 100
    assert colour_distance(stripes, white) == pytest.approx(math.hypot(50, 50), abs=0.5)


def test_ordered_share_counts_the_steps_in_one_direction() -> None:
    assert ordered_share([1, 2, 3, 3], 1) == pytest.approx(2 / 3)
    assert ordered_share([3, 2, 1], -1) == 1


class TrueSamples:
    """Samples that are the true pictures, or those of another condition."""

    def __init__(self, frames: Frames, shift: int = 0) -> None:
        self.frames, self.shift = frames, shift

    def under(self, condition: Condition, mode: str) -> np.ndarray:
        number = (CONDITIONS.index(condition) + self.shift) % len(CONDITIONS)
        return self.frames.images[number]

    def drawing(self, number: int, condition: Condition | None) -> Drawing:
        return Drawing(prompt="", control=self.frames.controls[number], seed=number)

    def styled(
        self, drawings: Sequence[Drawing], styles: Sequence[np.ndarray], scale: float
    ) -> np.ndarray:
        black = [np.zeros_like(style) for style in styles]
        return np.stack(styles if scale else black)


def red_judge(frames: Frames, noise: float) -> Any:
    """Judge that reads the condition from red, and the depth of the frame from green and blue."""
    targets = log_inverse_depth(frames.controls)
    rng = np.random.default_rng(0)

    def probabilities(images: np.ndarray) -> np.ndarray:
        return np.eye(len(CONDITIONS))[images[:, 0, 0, 0] // 30]

    def depth(images: np.ndarray) -> np.ndarray:
        numbers = images[:, 0, 0, 1].astype(int) // 10 * NUM_PLACES + images[:, 0, 0, 2]
        return targets[numbers] + noise * rng.normal(size=targets[numbers].shape)

    return SimpleNamespace(probabilities=probabilities, log_inverse_depth=depth)


def test_true_pictures_agree_with_their_condition_and_control(frames: Frames) -> None:
    judge, samples = red_judge(frames, 0.05), TrueSamples(frames)
    whole, *_ = condition_figures(samples, judge)  # type: ignore[arg-type]
    assert whole.value == 1 and whole.met
    assert whole.references["true pictures"] == 1
    assert whole.references["shuffled prompts"] == pytest.approx(1 / 6)
    depth, *_ = depth_figures(samples, judge)  # type: ignore[arg-type]
    assert depth.met and depth.value > 5
    assert depth.references["shuffled control"] > 0.9


def test_other_pictures_do_not_agree(frames: Frames) -> None:
    whole, *_ = condition_figures(
        TrueSamples(frames, shift=1),  # type: ignore[arg-type]
        red_judge(frames, 0),
    )
    assert whole.value == 0 and whole.met is False and whole.references["true pictures"] == 1
    depth, *_ = depth_figures(TrueSamples(frames), red_judge(frames, 50))  # type: ignore[arg-type]
    assert depth.met is False and depth.value == pytest.approx(1, abs=0.1)


def test_samples_in_their_style_are_nearer_than_without(frames: Frames) -> None:
    distance, share = style_figures(TrueSamples(frames))  # type: ignore[arg-type]
    assert distance.value == pytest.approx(0, abs=1e-3) and distance.met
    assert (
        distance.references["shuffled style"]
        > distance.references["real-real: other view of the same drive"]
    )
    assert share.value > 0.8


def figure(value: float, **given: Any) -> Figure:
    return Figure(measure="m", name="f", value=value, samples=3, seeds="0", **given)


def test_figures_tell_whether_their_goal_is_met_and_survive_json() -> None:
    assert figure(0.9, goal=0.9).met and figure(0.8, goal=0.9).met is False
    assert figure(1.0, goal=2.0, lower_is_better=True).met and figure(1.0).met is None
    for found in (figure(0.5, goal=0.25, references={"floor": 1.5}), figure(math.nan)):
        again = Figure.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
        assert again.row() == found.row()
    text = table([figure(0.85, unit="x", goal=0.9, references={"floor": 1.5})])
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert cells == ["m", "f", "0.850 x", ">= 0.900", "missed", "floor 1.50", "3", "0"]


def test_parts_are_computed_once_and_only_whole(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"images": np.arange(3)}

    parts = Parts(tmp_path, "family", {"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        parts.arrays("a", compute)
    for _ in range(2):
        assert Parts(tmp_path, "family", {"seed": 1}).arrays("a", compute)["images"].sum() == 3
    assert len(calls) == 2
    Parts(tmp_path, "family", {"seed": 2}).arrays("a", compute)
    assert len(calls) == 3


def test_sampling_is_that_of_the_recipe() -> None:
    numbers = RecipeNumbers.read()
    assert (numbers.steps, numbers.guidance, numbers.strength) == (12, 3.0, 0.78)
    assert numbers.sampling("text2image").strength is None


def test_a_sheet_has_titles_and_fits_its_limit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    columns = {"clear": list(noise), "night, seed 0": list(noise // 4)}
    sheet = grid(columns)
    assert sheet.size == (192, 128 + 18)
    pixels = np.asarray(sheet)
    assert (pixels[18:, :96] == np.concatenate(list(noise))).all()
    assert pixels[:18, 96:].min() < 100  # the title
    large = encoded(sheet)
    small = encoded(sheet, len(large) - 1)
    assert len(small) < len(large) and small.startswith(b"\xff\xd8")
