"""The alignment gate: identities of directions and displacement, and seeded defects."""

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.apply import GateVerdict
from nightrain.pipelines.gates.built_in.alignment import agreement, displacement
from nightrain.pipelines.gates.built_in.limits import AlignmentLimits
from nightrain.pipelines.gates.built_in.picture_settings import AlignmentSettings
from nightrain.pipelines.gates.edge_directions import edge_directions
from support.gating import verdict_of
from support.pictures import HEIGHT, WIDTH, blocks
from support.weather_street import request, street


def judged(clear: np.ndarray, variant: np.ndarray, **limits: float) -> GateVerdict:
    asked = request(scene=(clear, np.ones(clear.shape[:2], np.float32), np.eye(3)))
    return verdict_of(AlignmentSettings(**limits), asked, Variant(image=variant))


def test_a_picture_agrees_with_itself_and_with_its_negative() -> None:
    """Both sides of an edge are equal in doubled angles, so a negative has the same edges."""
    image = blocks(1)
    assert agreement(edge_directions(image), edge_directions(image)) == pytest.approx(1, abs=1e-3)
    # The logarithm bends intensities, but not the directions of edges.
    assert agreement(edge_directions(image), edge_directions(255 - image)) > 0.9


def test_edges_at_right_angles_disagree() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::32], stripes[:, 1::32], stripes[:, 2::32] = 200, 200, 200
    across = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    across[::32], across[1::32], across[2::32] = 200, 200, 200
    assert agreement(edge_directions(stripes), edge_directions(across)) < -0.6


@pytest.mark.parametrize(("x_px", "y_px"), [(0, 0), (9, 0), (-36, 0), (0, 14), (20, -11)])
@pytest.mark.parametrize("scale", [1, 2])
def test_displacement_is_the_shift(x_px: int, y_px: int, scale: int) -> None:
    image = blocks(2, scale * HEIGHT, scale * WIDTH)
    moved = np.roll(image, (scale * y_px, scale * x_px), axis=(0, 1))
    found, peak = displacement(edge_directions(image), edge_directions(moved))
    assert peak > 0.3 and found == pytest.approx(np.hypot(x_px, y_px) / WIDTH, abs=0.001)


def test_the_displacement_of_unrelated_pictures_is_not_sure() -> None:
    _, peak = displacement(edge_directions(blocks(4)), edge_directions(blocks(5)))
    assert peak < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_darkness_veil_noise_and_bright_spots_are_accepted(seed: int) -> None:
    image, rng = blocks(seed), np.random.default_rng(seed)
    seen = image * 0.15 + 12 + rng.normal(0, 1.5, image.shape)
    for _ in range(25):
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        seen[y : y + 4, x : x + 4] = 255
    verdict = judged(image, seen.clip(0, 255).astype(np.uint8))
    assert not verdict.rejections and 0.42 <= verdict.scores["alignment"]["agreement"] <= 1


@pytest.mark.parametrize("seed", range(5))
def test_other_pictures_are_rejected(seed: int) -> None:
    image = blocks(seed)
    for other in (
        blocks(seed + 100),
        image[:, ::-1].copy(),
        np.roll(image, 14, axis=1),
        cv2.resize(image[20:-20, 35:-35], (WIDTH, HEIGHT)),
    ):
        assert judged(image, other).rejections


def test_the_reason_says_what_was_found_and_expected() -> None:
    image = blocks(3)
    moved = judged(image, np.roll(image, 36, axis=1))
    assert "alignment.displaced" in moved.codes
    assert "displaced by 8.0% of the longer side, expected at most 1.0%" in moved.words
    loose = {"most_displacement": 0.1, "least_agreement": -1}
    assert not judged(image, np.roll(image, 36, axis=1), **loose).rejections


@pytest.mark.parametrize(("severity", "rejected"), [(0.1, True), (0.9, False)])
def test_a_pair_is_a_limit_by_severity(severity: float, rejected: bool) -> None:
    limits = AlignmentLimits(least_agreement=(0.8, 0.0), most_displacement=1.0)
    settings = AlignmentSettings(by_condition={Condition.FOG: limits})
    scores = {"agreement": 0.5, "displacement": 0.0}
    assert bool(list(settings.judge(scores, Condition.FOG, severity))) == rejected
    assert not list(settings.judge(scores, Condition.NIGHT, severity))


def test_a_picture_without_edges_is_rejected_and_does_not_fail() -> None:
    image, _, _ = street(WIDTH, HEIGHT)
    assert judged(image, np.full_like(image, 90)).codes == ["alignment.disagrees"]
