"""Calibration files against the projection that KITTI's readme gives, and damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import transform_points
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.kitti.calibration import (
    VELODYNE_HEIGHT_M,
    Calibration,
    read_calibration,
)
from support.sources import kitti as fixture
from support.sources.kitti import CAMERAS, DATE


def read(root: Path) -> Calibration:
    return read_calibration(Files(root, Checksums(root)), DATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fixture.write_calibration(tmp_path)
    return tmp_path


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.name)
def test_points_project_as_p_rect_r_rect_and_velo_to_cam_say(
    folder: Path, camera: fixture.Camera
) -> None:
    """x = P_rect R_rect T_cam_velo X (readme of KITTI raw), to a thousandth of a pixel."""
    points_m = np.random.default_rng(0).uniform([5, -10, -2], [50, 10, 3], (200, 3))
    projection = np.column_stack([fixture.intrinsics(), fixture.intrinsics() @ camera.shift_m])
    homogeneous = np.column_stack([points_m, np.ones(200)])
    uvw = homogeneous @ (projection @ fixture.T_RECT_CAM0 @ fixture.T_CAM0_VELO).T
    found = read(folder).cameras[camera.name]
    again = transform_points(found.T_camera_velo, points_m) @ found.intrinsics.T
    np.testing.assert_allclose(again[:, :2] / again[:, 2:], uvw[:, :2] / uvw[:, 2:], atol=1e-3)
    assert found.size == fixture.SIZE


def test_the_road_below_the_velodyne_is_the_origin_of_the_car(folder: Path) -> None:
    calibration = read(folder)
    assert calibration.T_velo_imu is not None
    np.testing.assert_allclose(calibration.T_velo_imu, fixture.T_VELO_IMU, atol=1e-8)
    road_m = np.array([[0, 0, -VELODYNE_HEIGHT_M], [10, 2, -VELODYNE_HEIGHT_M]])
    for camera in CAMERAS:
        found = calibration.cameras[camera.name]
        in_camera_m = transform_points(fixture.T_camera_velo(camera), road_m)
        ego_m = transform_points(found.T_ego_camera, in_camera_m)
        np.testing.assert_allclose(ego_m, [[0, 0, 0], [10, 2, 0]], atol=1e-6)


def test_a_date_may_lack_the_imu_and_some_cameras(folder: Path) -> None:
    (folder / DATE / "calib_imu_to_velo.txt").unlink()
    path = folder / DATE / "calib_cam_to_cam.txt"
    path.write_text("\n".join(x for x in path.read_text().splitlines() if "rect_03" not in x))
    calibration = read(folder)
    assert calibration.T_velo_imu is None and list(calibration.cameras) == ["image_02"]


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("P_rect_02", "1 2 3", "expected 12 finite numbers"),
        ("P_rect_02", "nan " * 12, "expected 12 finite numbers"),
        ("P_rect_02", "x " * 12, "expected 12 finite numbers"),
        ("P_rect_02", "700 0 600 0 0 -700 170 0 0 0 1 0", "not a pinhole matrix"),
        ("P_rect_02", "700 0 600 0 9 700 170 0 0 0 1 0", "not a pinhole matrix"),
        ("P_rect_02", "700 0 600 0 0 700 170 0 0 0 2 0", "not a pinhole matrix"),
        ("S_rect_02", "1242", "expected 2 finite numbers"),
        ("R_rect_00", "1 0 0 0 1 0 0 0 -1", "not a rotation"),
        ("R_rect_00", "1 0 0 0 1 0 0 0 1.01", "not a rotation"),
        ("R_rect_00", "", "found nothing|is nothing"),
    ],
)
def test_what_is_no_calibration_is_named(folder: Path, key: str, values: str, said: str) -> None:
    path = folder / DATE / "calib_cam_to_cam.txt"
    lines = [x for x in path.read_text().splitlines() if not x.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, f"{key}: {values}"]))
    with pytest.raises(DamagedInput, match=f"calib_cam_to_cam.txt: {key}.*({said})") as caught:
        read(folder)
    assert caught.value.reason is Reason.BAD_CALIBRATION


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / DATE / "calib_velo_to_cam.txt").unlink()
    with pytest.raises(DamagedInput, match="calib_velo_to_cam") as caught:
        read(folder)
    assert caught.value.reason is Reason.MISSING_FILE
