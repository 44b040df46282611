"""The reader against exact truth: a street is written in RobotCar's layout and read back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.frame import Frame, scaled_intrinsics
from nightrain.datasets.geometry.projection import invert_rigid, transform_points
from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.robotcar.camera import (
    read_camera,
    read_extrinsics,
    transform_from_euler,
)
from nightrain.datasets.sources.robotcar.lms import LmsScans
from nightrain.datasets.sources.robotcar.poses import read_trajectory
from nightrain.datasets.sources.robotcar.writer import (
    INTRINSICS,
    LMS_FRONT,
    SIZE,
    TraverseWriter,
    pinhole,
)
from support.sources import robotcar as fixture
from support.sources.robotcar import BENT, DAY, MIDDLE, time_us

NOW_US = time_us(MIDDLE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robotcar")
    fixture.build(root)
    return root


@pytest.fixture(scope="module")
def frame(root: Path) -> Frame:
    source = fixture.source(root, splits=root / "splits")
    (ref,) = source.select("train")
    return source.load(ref)


@pytest.fixture(scope="module")
def writer(root: Path) -> TraverseWriter:
    return fixture.writer(root)


def files(root: Path) -> Files:
    return Files(root, Checksums(root))


def camera_points(num: int) -> np.ndarray:
    """Points (N, 3) in the camera, all over the cropped picture, 2 to 60 m away."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(5, 1274, num), rng.uniform(5, 762, num)
    rays = np.linalg.inv(INTRINSICS) @ np.stack([u, v, np.ones(num)])
    return (rays * rng.uniform(2, 60, num)).T


# ---------------------------------------------------------------- lens


def test_points_go_through_the_table_to_their_raw_pixels(root: Path) -> None:
    """Reprojection through intrinsics and distortion table: below 0.05 px."""
    camera = read_camera(files(root / "sdk"), "stereo/left")
    points_m = camera_points(4000)
    u, v, w = camera.intrinsics @ points_m.T
    across, down = (np.asarray(a / w, np.float32)[None] for a in (u, v))
    tables = camera.lookup()
    found = [cv2.remap(table, across, down, cv2.INTER_LINEAR)[0] for table in tables]
    bent = BENT.distort(points_m[:, 0] / points_m[:, 2], points_m[:, 1] / points_m[:, 2])
    expected = [INTRINSICS[i, i] * b + INTRINSICS[i, 2] for i, b in enumerate(bent)]
    assert np.abs(np.array(found) - expected).max() < 0.05  # 1/32 px are OpenCV's own
    # The lens is no identity: the test would fail for a picture that was left as it is.
    assert np.abs(np.array(expected) - np.concatenate([across, down])).max() > 20


def test_rays_of_raw_pixels_are_the_tables_inverse() -> None:
    v, u = np.mgrid[0.0 : SIZE[1] : 37, 0.0 : SIZE[0] : 41]
    table = BENT.lookup(SIZE)[:, ::37, ::41]
    straight = np.tensordot(INTRINSICS, BENT.rays(*table), 1)
    assert np.abs(straight[:2] - [u, v]).max() < 1e-6  # px


def test_the_undistorted_picture_lies_on_the_true_one(root: Path, frame: Frame) -> None:
    """Shift of every block with enough texture against the pinhole picture: below 0.1 px."""
    truth = cv2.imread(str(root / "truth" / DAY / f"{NOW_US}.png"))
    assert truth is not None
    found, expected = (
        image.astype(np.float64)[..., 1] for image in (frame.image.pixels(), truth[..., ::-1])
    )
    plain = ~outlines(true_depth_m(root))
    shifts = []
    for top in range(8, 700, 64):
        for left in range(8, 1200, 64):
            block = (slice(top, top + 64), slice(left, left + 64))
            dv, du = np.gradient(expected[block])
            slopes = np.stack([du[plain[block]], dv[plain[block]]], axis=1)
            error = (found[block] - expected[block])[plain[block]]
            if len(slopes) > 1000 and np.linalg.eigvalsh(slopes.T @ slopes)[0] > 1e4:
                shifts.append(np.linalg.lstsq(slopes, error, rcond=None)[0])
    assert len(shifts) > 40
    assert np.abs(shifts).max() < 0.1 and np.abs(np.mean(shifts, axis=0)).max() < 0.01  # px
    assert 10 * np.log10(255**2 / np.mean((found - expected)[plain] ** 2)) > 37  # dB


def true_depth_m(root: Path) -> np.ndarray:
    return decode_depth_png((root / "truth" / DAY / f"{NOW_US}.depth.png").read_bytes())


def outlines(depth_m: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool within 3 of the sky or of a step in depth, which rays alias."""
    step = np.hypot(*np.gradient(depth_m)) > 0.15 * depth_m
    return cv2.dilate((step | (depth_m == 0)).astype(np.uint8), np.ones((7, 7))) > 0


def test_crop_and_resize_keep_points_on_their_pixels(root: Path, frame: Frame) -> None:
    np.testing.assert_array_equal(frame.intrinsics, INTRINSICS)
    assert frame.image.size() == (1280, 768)
    whole = fixture.source(root, crop_bonnet=False)
    assert whole.load(whole.select("all")[0]).image.size() == SIZE
    small = scaled_intrinsics(frame.intrinsics, (1280, 768), (544, 320))
    assert small[0, 0] == pytest.approx(980 * 544 / 1280)
    assert small[1, 1] == pytest.approx(980 * 320 / 768)  # md4all has 320 / 960
    # A point of the large picture lands where its pixel's share of the small one is.
    u, v, w = frame.intrinsics @ np.array([1.0, 0.5, 8.0])
    su, sv, sw = small @ np.array([1.0, 0.5, 8.0])
    assert (su / sw + 0.5) / 544 == pytest.approx((u / w + 0.5) / 1280)
    assert (sv / sw + 0.5) / 320 == pytest.approx((v / w + 0.5) / 768)


# ---------------------------------------------------------------- motion


def test_chained_odometry_is_the_true_way(root: Path, frame: Frame, writer: TraverseWriter) -> None:
    """After 3 s and 24 m: below 0.001 cm and 1e-6 degrees; the world is the first ego frame."""
    T_world_first = writer.drive.T_world_ego(0.0)
    error = invert_rigid(T_world_first @ frame.T_world_camera) @ writer.T_world_camera(NOW_US)
    assert np.abs(error[:3, 3]).max() < 1e-5 and np.abs(error[:3, :3] - np.eye(3)).max() < 1e-8
    assert frame.T_ego_camera is not None
    expected = invert_rigid(writer.drive.T_world_ego(3.0)) @ writer.T_world_camera(NOW_US)
    np.testing.assert_allclose(frame.T_ego_camera, expected, atol=1e-9)
    assert frame.T_ego_camera[2, 3] == pytest.approx(1.56)


def test_between_two_pictures_poses_are_interpolated(root: Path, writer: TraverseWriter) -> None:
    """Half a step from any known pose: below 0.1 cm and 0.01 degrees."""
    T_vehicle_ins = read_extrinsics(files(root / "sdk"), "ins")
    trajectory = read_trajectory(files(root), DAY, T_vehicle_ins)
    assert trajectory is not None and trajectory.name.endswith("vo/vo.csv")
    times_us = np.array([time_us(step) + 31_250 for step in range(90)])
    T_world_first = writer.T_world_vehicle(time_us(0))
    for found, at_us in zip(trajectory.at(times_us), times_us, strict=True):
        error = invert_rigid(T_world_first @ found) @ writer.T_world_vehicle(int(at_us))
        assert np.linalg.norm(error[:3, 3]) < 0.001
        assert np.degrees(np.abs(error[:3, :3] - np.eye(3)).max()) < 0.01


def test_the_ins_tells_the_same_way(root: Path, tmp_path: Path) -> None:
    T_vehicle_ins = read_extrinsics(files(root / "sdk"), "ins")
    by_vo = read_trajectory(files(root), DAY, T_vehicle_ins)
    (tmp_path / "only" / DAY / "gps").mkdir(parents=True)
    copy = tmp_path / "only" / DAY / "gps/ins.csv"
    copy.write_bytes((root / DAY / "gps/ins.csv").read_bytes())
    by_ins = read_trajectory(files(tmp_path / "only"), DAY, T_vehicle_ins)
    assert by_vo is not None and by_ins is not None and by_ins.name.endswith("ins.csv")
    times_us = np.array([time_us(step) for step in range(0, 96, 5)])
    difference = by_vo.at(times_us) - by_ins.at(times_us)
    assert np.abs(difference[:, :3, 3]).max() < 0.002  # m
    assert np.abs(difference[:, :3, :3]).max() < 1e-4
    assert read_trajectory(files(tmp_path), "none", T_vehicle_ins) is None


# ---------------------------------------------------------------- laser


def test_gathered_laser_points_lie_on_the_true_surfaces(root: Path, writer: TraverseWriter) -> None:
    """Distance of every point to the nearest surface: at most 0.1 cm, 0.01 cm in the median."""
    T_vehicle_laser = transform_from_euler(np.array([LMS_FRONT]))[0]
    trajectory = read_trajectory(files(root), DAY, read_extrinsics(files(root / "sdk"), "ins"))
    assert trajectory is not None
    scans = LmsScans(files(root), DAY, T_vehicle_laser)
    points_m = scans.points(trajectory, NOW_US, 4.0)
    world_m = transform_points(writer.T_world_vehicle(NOW_US), points_m)
    low, high = fixture.BODIES[:, 0], fixture.BODIES[:, 1]
    inside = np.minimum(world_m[:, None] - low, high - world_m[:, None])  # (N, B, 3)
    distance_m = np.linalg.norm(np.minimum(inside, 0), axis=2)  # of those outside a body
    depth_in_m = np.where((inside > 0).all(axis=2), inside.min(axis=2), 0)
    error_m = (distance_m + depth_in_m).min(axis=1)
    assert len(error_m) > 100_000
    assert np.median(error_m) < 1e-4 and error_m.max() < 1e-3
    # A window of 1 s takes in the scans of 2 s only.
    assert len(scans.points(trajectory, NOW_US, 1.0)) == pytest.approx(len(points_m) / 3, rel=0.1)


def test_laser_depth_is_the_depth_of_its_pixel(root: Path, frame: Frame) -> None:
    """Where depth changes little from pixel to pixel: 2 cm in the median, 8 cm for 99 %."""
    assert frame.lidar_depth_m is not None
    truth = true_depth_m(root)
    assert frame.lidar_depth_m.shape == truth.shape == (768, 1280)
    v, u = np.nonzero(frame.lidar_depth_m)
    assert len(v) > 30_000 and {v.min(), u.min()} >= {1} and v.max() <= 766 and u.max() <= 1278
    around = np.stack([truth[v + dv, u + du] for dv in (-1, 0, 1) for du in (-1, 0, 1)])
    found, low, high = frame.lidar_depth_m[v, u], around.min(axis=0), around.max(axis=0)
    sky = low == 0
    assert sky.mean() < 0.002
    assert not np.any(found[~sky] < low[~sky] - 0.02)  # never nearer than what is seen
    # Farther is what the laser sees past an outline that hides it from the camera: it is under way
    # for 8 s, and nothing takes such returns out, neither here nor in md4all.
    assert np.mean(found[~sky] > high[~sky] + 0.02) < 0.06
    smooth = ~sky & (high - low < 0.02 * around[4]) & (found < high + 0.02)
    error_m = np.abs(found - around[4])[smooth]
    assert smooth.mean() > 0.6
    assert np.median(error_m) < 0.02 and np.percentile(error_m, 99) < 0.08


def test_neighbours_of_the_triplet_see_the_same_points(
    frame: Frame, writer: TraverseWriter
) -> None:
    points_m = camera_points(50)
    world_m = transform_points(writer.T_world_camera(NOW_US), points_m)
    for neighbour, step in ((frame.previous, MIDDLE - 1), (frame.next, MIDDLE + 1)):
        assert neighbour is not None and neighbour.timestamp_us == time_us(step)
        there_m = transform_points(invert_rigid(writer.T_world_camera(time_us(step))), world_m)
        found_m = transform_points(neighbour.T_neighbour_camera, points_m)
        np.testing.assert_allclose(found_m, there_m, atol=1e-6)
        assert neighbour.image.size() == frame.image.size()


def test_the_truth_is_what_a_pinhole_sees(writer: TraverseWriter) -> None:
    """The exporter's own oracle: a ground point's depth by hand."""
    T = writer.T_world_camera(NOW_US)
    _, depth_m = writer.drive.look(3.0, T, pinhole(INTRINSICS, (1280, 768)))
    ray = T[:3, :3] @ np.linalg.inv(INTRINSICS) @ np.array([640.0, 700.0, 1.0])
    assert depth_m[700, 640] == pytest.approx(-T[2, 3] / ray[2], rel=1e-6)
