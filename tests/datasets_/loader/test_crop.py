"""Random crops, rotation and PixelFormer's colours: what a sample shows, and its geometry."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.augment import Augmentation, rotate_sample
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.loader.sampler import Draw
from support.synthetic import SIZE
from support.tiny_training import make_dataset

CROP = (SIZE[0] - 16, SIZE[1] - 8)


def config(**changes: Any) -> TrainingSetConfig:
    fields = {"input_size": SIZE, "loss_size": SIZE, "augmentation": None, "neighbours": True}
    return TrainingSetConfig.model_validate(fields | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("crop") / "dataset", 4)


def window_of(part: np.ndarray, whole: np.ndarray) -> tuple[int, int]:
    """Where a part was cut out of an image: (left, top)."""
    places = [
        (left, top)
        for top in range(whole.shape[0] - part.shape[0] + 1)
        for left in range(whole.shape[1] - part.shape[1] + 1)
        if np.array_equal(whole[top : top + part.shape[0], left : left + part.shape[1]], part)
    ]
    (place,) = places
    return place


def test_a_crop_is_a_window_of_everything_with_moved_principal_points(root: Path) -> None:
    whole = TrainingSet(root, config()).values(1)
    outer = (SIZE[0] - 6, SIZE[1] - 4)
    cropped = TrainingSet(root, config(input_size=CROP, loss_size=CROP, crop_from=outer))
    places = set()
    for epoch in range(40):
        found = cropped.values(Draw(0, epoch, 1))
        left, top = window_of(found["image"], whole["image"])
        places.add((left, top))
        for name in ("clear_image", "target", "previous", "next", "lidar_depth_m"):
            inside = whole[name][top : top + CROP[1], left : left + CROP[0]]
            assert np.array_equal(found[name], inside), name
        for name in ("intrinsics", "previous_intrinsics", "next_intrinsics"):
            moved = whole[name] - found[name]
            assert np.allclose(moved, [[0, 0, left], [0, 0, top], [0, 0, 0]]), name
        assert np.array_equal(found["T_next_camera"], whole["T_next_camera"])
    lefts, tops = {x for x, _ in places}, {y for _, y in places}
    # The bottom centre: 3 pixels from each side, 4 from the top, none from the bottom.
    assert min(lefts) >= 3 and max(lefts) <= SIZE[0] - CROP[0] - 3 and len(lefts) > 5
    assert min(tops) >= 4 and max(tops) <= SIZE[1] - CROP[1] and len(tops) > 2
    again = cropped.values(Draw(0, 3, 1))["image"]
    assert np.array_equal(again, cropped.values(Draw(0, 3, 1))["image"])  # of the draw alone


def test_crops_that_do_not_fit_are_refused(root: Path) -> None:
    larger = (SIZE[0] + 2, SIZE[1])
    with pytest.raises(InvalidRequest, match=r"smaller than crop_from"):
        TrainingSet(root, config(crop_from=larger)).values(0)
    with pytest.raises(ValidationError, match="is smaller than input_size"):
        config(crop_from=CROP)
    with pytest.raises(ValidationError, match="make them equal"):
        config(input_size=CROP, crop_from=SIZE)
    with pytest.raises(ValidationError, match="poses of neighbours"):
        config(augmentation=Augmentation(rotation_deg=1.0))


def test_a_rotation_turns_image_and_depth_alike_about_the_centre() -> None:
    depth_m = np.zeros((41, 61), np.float32)
    depth_m[10:14, 40:44] = 7.0
    image = np.repeat((depth_m > 0).astype(np.uint8)[..., None] * 200, 3, 2)
    found = rotate_sample({"image": image, "lidar_depth_m": depth_m, "intrinsics": np.eye(3)}, 20.0)
    v, u = np.nonzero(found["lidar_depth_m"])
    assert set(found["lidar_depth_m"][v, u]) == {np.float32(7.0)}  # never interpolated
    x, y = 41.5 - 30, -(11.5 - 20)  # from the centre, y up; OpenCV turns counter-clockwise
    angle = np.deg2rad(20)
    expected = (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))
    assert np.allclose((u.mean() - 30, -(v.mean() - 20)), expected, atol=0.6)
    rows, columns = np.nonzero(found["image"][..., 0] > 100)
    assert np.allclose((columns.mean(), rows.mean()), (u.mean(), v.mean()), atol=0.6)


def test_gamma_brightness_and_channels_are_pixelformers() -> None:
    """Slow oracle: x ** gamma, times brightness, times a gain per channel, clipped."""
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    plain: dict[str, Any] = {"contrast": 0, "saturation": 0, "hue": 0, "noise_probability": 0}
    ranges = Augmentation(brightness=0.1, gamma=0.1, channels=0.1, colour_probability=0.5, **plain)
    changed, values = 0, np.random.default_rng(1)
    for _ in range(200):
        numbers = values.random(16)
        drawn, found = ranges.draw(numbers), None
        found = drawn.of_picture(image)
        if numbers[13] >= 0.5:
            assert np.abs(found.astype(int) - image).max() <= 1
            continue
        changed += 1
        assert drawn.gains is not None
        factors = np.array([drawn.gamma, drawn.brightness, *drawn.gains])
        assert ((factors >= 0.9) & (factors <= 1.1)).all()
        expected = np.clip((image / 255) ** drawn.gamma * drawn.brightness * drawn.gains, 0, 1)
        assert np.abs(found - 255 * expected).max() < 1.7  # two roundings to bytes
    assert 60 < changed < 140
    assert cv2.norm(ranges.draw(np.full(16, 0.25)).of_picture(image), image) > 0
