import numpy as np
import pytest

from nightrain.datasets.loader.augment import (
    Augmentation,
    DrawnAugmentation,
    add_noise,
    flip_sample,
    flipped_intrinsics,
    flipped_transform,
    jitter_matrix,
)
from nightrain.datasets.loader.corruptions import STANDS_FOR, Corruptions
from support.synthetic import picture

WIDTH, HEIGHT = 64, 40
K = np.array([[50.0, 0.3, 30.2], [0.0, 52.0, 18.7], [0.0, 0.0, 1.0]])


def motion() -> np.ndarray:
    """A rigid motion with every component different from zero."""
    a, b = 0.1, -0.2
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = turn_x @ turn_y, [0.4, -0.1, 0.7]
    return transform


def project(intrinsics: np.ndarray, transform: np.ndarray, point: np.ndarray) -> np.ndarray:
    uvw = intrinsics @ (transform @ np.append(point, 1.0))[:3]
    return uvw[:2] / uvw[2]


def test_a_mirrored_point_reprojects_where_its_picture_is() -> None:
    point = np.array([1.3, -0.4, 8.0])
    mirrored = point * [-1, 1, 1]
    for transform in (np.eye(4), motion()):
        u, v = project(K, transform, point)
        flipped = project(flipped_intrinsics(K, WIDTH), flipped_transform(transform), mirrored)
        np.testing.assert_allclose(flipped, [WIDTH - 1 - u, v], atol=1e-10)


def test_a_flipped_motion_stays_rigid_and_flipping_twice_is_nothing() -> None:
    flipped = flipped_transform(motion())
    np.testing.assert_allclose(flipped[:3, :3] @ flipped[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(flipped[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_array_equal(flipped_transform(flipped), motion())
    np.testing.assert_allclose(flipped_intrinsics(flipped_intrinsics(K, 9), 9), K, atol=1e-12)
    assert flipped_intrinsics(K, 640)[0, 2] == pytest.approx(640 - 1 - K[0, 2])


def test_warping_agrees_before_and_after_the_flip() -> None:
    """A textured plane seen by two cameras: the colours that a pixel meets are the same."""
    depth_m, transform = 6.0, motion()

    def texture(points: np.ndarray) -> np.ndarray:  # (..., 3) metres in the target camera
        x, y = points[..., 0], points[..., 1]
        return 0.5 + 0.5 * np.sin(0.9 * x + 0.2) * np.cos(0.7 * y - 0.4)

    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)

    def rays(intrinsics: np.ndarray) -> np.ndarray:
        return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T

    target = texture(rays(K) * depth_m)
    camera = np.linalg.inv(transform)  # target from source
    directions, origin = rays(K) @ camera[:3, :3].T, camera[:3, 3]
    source = texture(origin + directions * ((depth_m - origin[2]) / directions[..., 2])[..., None])
    sample = {
        "target": np.repeat(target[..., None], 3, 2),
        "next": np.repeat(source[..., None], 3, 2),
        "intrinsics": K,
        "next_intrinsics": K,
        "T_next_camera": transform,
        "has_next": np.array(True),
    }
    for arrays in (sample, flip_sample(sample)):
        points = rays(arrays["intrinsics"]) * depth_m
        moved = points @ arrays["T_next_camera"][:3, :3].T + arrays["T_next_camera"][:3, 3]
        uvw = moved @ arrays["next_intrinsics"].T
        met = sample_bilinear(arrays["next"][..., 0], uvw[..., :2] / uvw[..., 2:])
        error = np.abs(met - arrays["target"][..., 0])
        assert np.isfinite(error).mean() > 0.5 and np.nanmax(error) < 0.01
    wrong = {**flip_sample(sample), "T_next_camera": transform}
    uvw = (rays(wrong["intrinsics"]) * depth_m) @ transform[:3, :3].T + transform[:3, 3]
    uv = uvw @ wrong["next_intrinsics"].T
    met = sample_bilinear(wrong["next"][..., 0], uv[..., :2] / uv[..., 2:])
    assert np.nanmax(np.abs(met - wrong["target"][..., 0])) > 0.05  # the pose must follow


def sample_bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Image (H, W) at (..., 2) pixels, NaN outside."""
    u, v = uv[..., 0], uv[..., 1]
    inside = (u >= 0) & (v >= 0) & (u < image.shape[1] - 1) & (v < image.shape[0] - 1)
    u0, v0 = np.where(inside, u, 0).astype(int), np.where(inside, v, 0).astype(int)
    du, dv = u - u0, v - v0
    top = image[v0, u0] * (1 - du) + image[v0, u0 + 1] * du
    low = image[v0 + 1, u0] * (1 - du) + image[v0 + 1, u0 + 1] * du
    return np.where(inside, top * (1 - dv) + low * dv, np.nan)


def test_jitter_is_the_four_steps_one_after_the_other() -> None:
    """An oracle: brightness, saturation, contrast, hue as separate operations on floats."""
    pixels = np.random.default_rng(0).uniform(0, 255, (500, 3))
    luma = np.array([0.299, 0.587, 0.114])
    b, c, s, h = 1.15, 0.85, 1.2, 0.04
    step = pixels * b
    step = s * step + (1 - s) * (step @ luma)[:, None]
    step = c * step + (1 - c) * (step @ luma).mean()
    axis = np.ones(3) / np.sqrt(3)
    angle = 2 * np.pi * h
    along = (step @ axis)[:, None] * axis
    expected = (
        step * np.cos(angle) + np.cross(axis, step) * np.sin(angle) + along * (1 - np.cos(angle))
    )
    matrix = jitter_matrix(b, c, s, h, float((pixels @ luma).mean()))
    np.testing.assert_allclose(pixels @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-9)


def test_no_strength_changes_nothing() -> None:
    image = picture(3)
    np.testing.assert_array_equal(DrawnAugmentation().of_picture(image), image)
    calm = Augmentation(
        brightness=0, contrast=0, saturation=0, hue=0, noise_probability=0, flip_probability=0
    )
    for seed in range(5):
        drawn = calm.draw(np.random.default_rng(seed).random(16))
        np.testing.assert_array_equal(drawn.of_picture(image), image)


def test_draws_lie_in_their_ranges_and_use_them() -> None:
    drawn = [Augmentation().draw(np.random.default_rng(i).random(16)) for i in range(2000)]
    for name in ("brightness", "contrast", "saturation"):
        values = np.array([getattr(d, name) for d in drawn])
        assert values.min() >= 0.8 and values.max() <= 1.2 and np.ptp(values) > 0.39
    hues = np.array([d.hue_turns for d in drawn])
    assert np.abs(hues).max() <= 0.05 and np.ptp(hues) > 0.098
    for share in (np.mean([d.flip for d in drawn]), np.mean([d.noise_std > 0 for d in drawn])):
        assert share == pytest.approx(0.5, abs=0.05)


def test_noise_has_md4alls_mean_and_deviation() -> None:
    grey = np.full((200, 300, 3), 128, np.uint8)
    noisy = add_noise(grey, 0.005, 0.045, 0.37).astype(float) / 255 - 128 / 255
    assert noisy.mean() == pytest.approx(0.005, abs=5e-4)
    assert noisy.std() == pytest.approx(0.045, rel=0.02)
    other = add_noise(grey, 0.005, 0.045, 0.371).astype(float) / 255 - 128 / 255
    assert abs(np.corrcoef(noisy.ravel(), other.ravel())[0, 1]) < 0.02
    white = add_noise(np.full((20, 30, 3), 255, np.uint8), 0.005, 0.045, 0.5)
    assert white.min() > 150 and white.max() == 255  # clamped, not wrapped around


def test_noise_is_one_sum_that_saturates_once() -> None:
    """An oracle on integers: the same stretch of the same field, added to black, grey and white."""
    grey, black = np.full((30, 40, 3), 128, np.uint8), np.zeros((30, 40, 3), np.uint8)
    noise = add_noise(grey, 0.005, 0.045, 0.6).astype(int) - 128
    assert noise.min() < -20 and noise.max() > 20
    for picture_ in (black, grey, np.full_like(grey, 250)):
        expected = np.clip(picture_.astype(int) + noise, 0, 255)
        np.testing.assert_array_equal(add_noise(picture_, 0.005, 0.045, 0.6), expected)


@pytest.mark.parametrize("kind", STANDS_FOR)
def test_corruptions_do_what_they_are_called(kind: str) -> None:
    image = picture(1)
    settings = Corruptions()
    for seed in range(20):
        made = settings.apply(kind, image, np.random.default_rng(seed).random(4))
        again = settings.apply(kind, image, np.random.default_rng(seed).random(4))
        np.testing.assert_array_equal(made, again)
        assert made.shape == image.shape and made.dtype == np.uint8
        if kind == "darkening":
            assert made.mean() < 0.62 * image.mean()
        elif kind == "blur":
            assert made.std() <= image.std() and abs(made.mean() - image.mean()) < 1.5
        else:
            assert 0.19 * image.std() < made.std() < 0.72 * image.std()
            assert made.mean() > image.mean() * 0.7
