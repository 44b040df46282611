"""The numbers that compare the world with the road, against what is known of made-up pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.benchmarks.picture_statistics import luminance, noise_sigma, photometric_error, warp

RNG = np.random.default_rng


@pytest.mark.parametrize("sigma", [0.5, 3.0, 12.0])
def test_noise_is_found_on_a_ramp_with_edges(sigma: float) -> None:
    ramp = np.add.outer(np.arange(300.0), 0.5 * np.arange(400.0))
    ramp[:, 200:] += 90  # an upright edge, which the estimate does not see
    noisy = ramp + RNG(0).normal(0, sigma, ramp.shape)
    assert noise_sigma(noisy) == pytest.approx(sigma, rel=0.03)


def test_luminance_of_two_halves() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (200, 100, 50)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    found = luminance(image)
    assert found.mean == pytest.approx(luma / 2, rel=1e-4)
    assert found.spread == pytest.approx(luma / 2, rel=1e-4)


def test_photometric_error_of_known_pairs() -> None:
    texture = RNG(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    assert np.abs(photometric_error(texture, texture)).max() < 1e-5
    flat = [np.full((30, 40, 3), value, np.uint8) for value in (51, 102)]  # 0.2 and 0.4
    structure = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)  # of flat windows
    expected = 0.85 * (1 - structure) / 2 + 0.15 * 0.2
    assert photometric_error(*flat) == pytest.approx(expected, rel=1e-3)
    inverse = photometric_error(texture, 255 - texture)
    assert 0.4 < inverse.mean() < 1


def test_a_wall_seen_from_the_side_is_warped_back() -> None:
    """A wall 5 m ahead; a camera 0.2 m to the right sees it 4 pixels to the left."""
    wall = cv2.GaussianBlur(RNG(2).integers(0, 256, (40, 90, 3)).astype(np.uint8), (0, 0), 1.5)
    here, there = wall[:, :80], wall[:, 4:84]
    K = np.array([[100.0, 0, 40], [0, 100.0, 20], [0, 0, 1]])
    T_there_here = np.eye(4)
    T_there_here[0, 3] = -0.2
    back, held = warp(there, np.full((40, 80), 5.0), K, T_there_here)
    assert held.sum() == 40 * 76  # four columns leave
    assert np.abs(back.astype(int) - here)[held].max() <= 1
    assert photometric_error(here, back)[held].mean() < 0.01
    assert photometric_error(here, there)[held].mean() > 0.2
    _, nothing = warp(there, np.zeros((40, 80)), K, T_there_here)
    assert not nothing.any()


def test_real_frames_are_sorted_by_the_words_of_their_folders(tmp_path: Path) -> None:
    from nightrain.benchmarks.world import SIZE, real_frames

    for name, size in (
        ("night/a.png", (600, 400)),
        ("train/b.png", (600, 900)),
        ("x_rain/c.png", (300, 100)),  # too small to be shrunk
    ):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.full((size[1], size[0], 3), 9, np.uint8))
    found = real_frames(tmp_path, 5)
    assert {str(c): len(images) for c, images in found.items()} == {"night": 1, "clear": 1}
    assert all(i.shape == (SIZE[1], SIZE[0], 3) for images in found.values() for i in images)
