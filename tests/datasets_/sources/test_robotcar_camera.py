"""Bayer pictures, and where cameras are mounted."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.robotcar.camera import (
    CAMERAS,
    T_ego_vehicle,
    demosaic,
    read_camera,
    transform_from_euler,
)
from nightrain.datasets.sources.robotcar.writer import mosaic

SCENE = np.random.default_rng(0).integers(30, 220, (6, 8, 3), np.uint8)


def smooth_picture() -> np.ndarray:
    return cv2.resize(SCENE, (256, 192), interpolation=cv2.INTER_CUBIC)


def test_a_mosaic_of_smooth_colours_comes_back() -> None:
    """Every channel on its own above 40 dB: a wrong pattern would swap or mix them."""
    picture = smooth_picture()
    found = demosaic(mosaic(picture), CAMERAS["stereo/left"].bayer)
    error = (found.astype(np.float64) - picture)[4:-4, 4:-4]
    assert (10 * np.log10(255**2 / np.mean(error**2, axis=(0, 1))) > 40).all()
    wrong = demosaic(mosaic(picture), CAMERAS["mono_left"].bayer)
    assert np.abs(wrong.astype(np.float64) - picture).mean() > 20


@pytest.mark.parametrize(
    ("camera", "corner"),
    [("stereo/left", ((1, 2), (0, 1))), ("mono_rear", ((0, 1), (1, 2)))],
)
def test_the_first_pixels_name_the_pattern(
    camera: str, corner: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """GBRG for the stereo camera, RGGB for the others, spelt out pixel by pixel."""
    colour = np.array([200, 120, 40], np.uint8)
    bayer = np.tile(colour[np.array(corner)], (16, 16))
    assert (demosaic(bayer, CAMERAS[camera].bayer) == colour).all()


def test_camera_extrinsics_are_read_from_the_vehicle_to_the_camera(tmp_path: Path) -> None:
    """Of a camera that stands 1 m behind and 0.5 m left of the origin and looks to the left."""
    sdk = tmp_path
    (sdk / "models").mkdir()
    (sdk / "extrinsics").mkdir()
    axes = "0 0 1 0 1 0 0 0 0 1 0 0 0 0 0 1"  # image frame to camera frame
    (sdk / "models/mono_left.txt").write_text(f"400 400 500 511 {axes}")
    T_vehicle_camera = transform_from_euler(np.array([[-1.0, -0.5, 0.2, 0, 0, -np.pi / 2]]))[0]
    x, y, z, *_ = np.linalg.inv(T_vehicle_camera)[:3, 3]
    (sdk / "extrinsics/mono_left.txt").write_text(f"{x} {y} {z} 0 0 {np.pi / 2}")
    camera = read_camera(Files(sdk, Checksums(sdk)), "mono_left")
    np.testing.assert_allclose(camera.T_vehicle_camera[:3, 3], [-1, -0.5, 0.2], atol=1e-9)
    ahead = camera.T_vehicle_camera[:3, :3] @ [0, 0, 1]
    np.testing.assert_allclose(ahead, [0, -1, 0], atol=1e-9)  # y is to the right
    assert camera.size == (1024, 1024)  # no bonnet to cut off


def test_the_right_camera_is_a_baseline_to_the_right(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "extrinsics").mkdir()
    axes = "0 0 1 0 1 0 0 0.24 0 1 0 0 0 0 0 1"
    (tmp_path / "models/stereo_wide_right.txt").write_text(f"980 980 640 480 {axes}")
    (tmp_path / "extrinsics/stereo.txt").write_text("0 0 0 0 0 0")
    camera = read_camera(Files(tmp_path, Checksums(tmp_path)), "stereo/right")
    np.testing.assert_allclose(camera.T_vehicle_camera[:3, 3], [0, 0.24, 0])
    assert camera.size == (1280, 768)


def test_the_ego_frame_is_level_and_on_the_road() -> None:
    """The camera looks 3 degrees down: the INS, which is level, looks 3 degrees up in it."""
    down = np.radians(3.0)
    T_vehicle_ins = transform_from_euler(np.array([[-1.7, 0.1, 1.2, 0, down, 0]]))[0]
    T = T_ego_vehicle(T_vehicle_ins)
    np.testing.assert_allclose(T[:3, 3], [0, 0, 1.56])
    np.testing.assert_allclose(T[:3, :3] @ [1, 0, 0], [np.cos(down), 0, -np.sin(down)], atol=1e-12)
    np.testing.assert_allclose(T[:3, :3] @ [0, 1, 0], [0, -1, 0], atol=1e-12)
