"""KITTI's own frames, where a checkout has some beside it: geometry, then the whole way."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.frame import Frame
from nightrain.datasets.geometry.ground_plane import fit_ground
from nightrain.datasets.geometry.projection import transform_points, unproject_depth
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.source import KittiSource
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import REAL_DATA
from support.synthetic import all_rows

KITTI = REAL_DATA / "kitti"
NUM_IMAGES, NUM_SCANS = 25, 9
CAMERA_HEIGHT_M = 1.65  # KITTI's published sensor setup

pytestmark = pytest.mark.skipif(not KITTI.exists(), reason="no KITTI frames beside this checkout")


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    source = KittiSource(KittiConfig(root=KITTI))
    assert any("poses unknown" in note for note in source.notes)
    return [source.load(ref) for ref in source.select("all")]


@pytest.fixture(scope="module")
def scanned(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.lidar_depth_m is not None]


def lidar_m(frame: Frame) -> np.ndarray:
    assert frame.lidar_depth_m is not None
    return frame.lidar_depth_m


def test_every_third_frame_has_a_scan_and_none_a_pose(frames: list[Frame]) -> None:
    assert len(frames) == NUM_IMAGES and {frame.image.size() for frame in frames} == {(1242, 375)}
    with_scan = [i for i, frame in enumerate(frames) if frame.lidar_depth_m is not None]
    assert with_scan == list(range(0, NUM_IMAGES, 3)) and len(with_scan) == NUM_SCANS
    assert all(f.previous is None and f.next is None for f in frames)
    assert {int(t) for t in np.diff([f.timestamp_us for f in frames])} == {100_000}


def test_the_scan_covers_the_lower_image(scanned: list[Frame]) -> None:
    for frame in scanned:
        depth_m = lidar_m(frame)
        assert 0.04 < (depth_m[150:] > 0).mean() < 0.07 and not depth_m[:70].any()
        assert depth_m[depth_m > 0].min() > 1.5 and depth_m.max() < 90


def test_the_road_lies_where_the_setup_says(scanned: list[Frame]) -> None:
    """1.65 m below the camera to 4 cm, flat to 5 cm, and level to 1 degree."""
    for frame in scanned:
        depth_m = lidar_m(frame)
        rows, columns = np.nonzero(depth_m)
        low = rows > 210
        plane = fit_ground(rows[low], columns[low], 1 / depth_m[rows[low], columns[low]])
        inverse_m = plane[0] * columns + plane[1] * rows + plane[2]
        z_m = depth_m[rows, columns]
        road = (inverse_m > 0) & (np.abs(1 / z_m - inverse_m) < 0.02 * inverse_m) & (z_m < 25)
        sparse_m = np.zeros_like(depth_m)
        sparse_m[rows[road], columns[road]] = z_m[road]
        points_m = unproject_depth(sparse_m, frame.intrinsics)  # (N, 3)
        assert len(points_m) > 1500
        centre_m = points_m.mean(axis=0)
        normal = np.linalg.svd(points_m - centre_m, full_matrices=False)[2][2]
        normal *= np.sign(normal[1])  # camera y is down
        assert normal @ centre_m == pytest.approx(CAMERA_HEIGHT_M, abs=0.04)
        assert np.degrees(np.arccos(normal[1])) < 1.0
        assert frame.T_ego_camera is not None
        ego_z_m = transform_points(frame.T_ego_camera, points_m)[:, 2]
        assert abs(np.median(ego_z_m)) < 0.08 and ego_z_m.std() < 0.10


def test_depth_edges_lie_on_image_edges(scanned: list[Frame]) -> None:
    """Moving the depth sideways by more than 3 px or upright by more than 4 loses agreement."""
    distance_px = [_distance_to_edges(frame) for frame in scanned]
    sides = [_nearer_sides(lidar_m(frame)) for frame in scanned]

    def disagreement(dx: int, dy: int) -> float:
        moved = ((np.clip(r + dy, 0, 374), np.clip(c + dx, 0, 1241)) for r, c in sides)
        pairs = zip(distance_px, moved, strict=True)
        return float(np.mean([distance[at].mean() for distance, at in pairs]))

    sideways = {dx: disagreement(dx, 0) for dx in range(-12, 13)}
    upright = {dy: disagreement(0, dy) for dy in range(-12, 13)}
    assert abs(min(sideways, key=lambda d: sideways[d])) <= 3
    assert abs(min(upright, key=lambda d: upright[d])) <= 4
    assert min(sideways[-12], sideways[12]) > 1.3 * sideways[0]


def test_real_frames_pass_through_ingest_generate_and_verify(tmp_path: Path) -> None:
    source, stop = KittiSource(KittiConfig(root=KITTI)), Stop()
    refs = source.select("all")[:4]  # two with a scan, two without
    executor = SerialExecutor(stop)
    report = ingest_frames(tmp_path, source, refs, {}, executor=executor, stop=stop)
    assert report.num_rows == 4 and report.num_quarantined == 0
    report = generate(GenerateJob(dataset=tmp_path), executor=executor, stop=stop)
    quarantined = {reason for t in report.tables.values() for reason in t.quarantined}
    assert report.num_rows == 8 and quarantined == {"no_depth"}
    assert verify(tmp_path).accepted
    rows = all_rows(tmp_path, FRAMES).values()
    assert {row["licence"] for row in rows} == {"CC-BY-NC-SA-3.0"}
    assert sum(row["lidar_depth"] is not None for row in rows) == 2


def _distance_to_edges(frame: Frame) -> np.ndarray:
    """Distance (H, W) in pixels to the next edge of the image, 10 at most."""
    edges = cv2.Canny(cv2.cvtColor(frame.image.pixels(), cv2.COLOR_RGB2GRAY), 60, 150)
    return np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), 10)


def _nearer_sides(depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of returns within 30 m with something half as far again beside them."""
    farthest_m = cv2.dilate(depth_m, np.ones((3, 9), np.uint8))
    rows, columns = np.nonzero((depth_m > 0) & (depth_m < 30) & (farthest_m > 1.5 * depth_m))
    return rows, columns
