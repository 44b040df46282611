"""LiDAR files of another layout, type, unit or sensor: each is refused, and good ones are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.lidar_sensors import (
    ANY_LIDAR,
    KITTI_LIDAR,
    NUSCENES_LIDAR,
    WORLD_LIDAR,
    LidarSensor,
)
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.sources.point_cloud import read_points
from nightrain.datasets.sources.robotcar.lms import scan_problem
from support.paths import REAL_DATA
from support.sources import nuscenes as fixture
from support.sweeps import kitti_sweep, lms_scan, nuscenes_sweep, other_layouts

SWEEPS: dict[str, tuple[LidarSensor, Callable[[int], np.ndarray]]] = {
    "nuscenes": (NUSCENES_LIDAR, nuscenes_sweep),
    "world": (WORLD_LIDAR, lambda seed: nuscenes_sweep(seed, turn=+1)),
    "kitti": (KITTI_LIDAR, kitti_sweep),
}
REAL = {
    "nuscenes": sorted((REAL_DATA / "nuscenes").glob("samples/LIDAR_TOP/*.bin")),
    "kitti": sorted((REAL_DATA / "kitti").glob("*/*/velodyne_points/data/*.bin")),
}


def read(folder: Path, data: bytes, sensor: LidarSensor) -> np.ndarray:
    (folder / "sweep.bin").write_bytes(data)
    return read_points(Files(folder, Checksums(folder)), "sweep.bin", sensor)


def refusal(folder: Path, data: bytes, sensor: LidarSensor) -> str:
    """Message of the refusal; "" if the file is accepted."""
    whole = data[: len(data) // (4 * sensor.values_per_point) * 4 * sensor.values_per_point]
    try:
        read(folder, whole, sensor)  # the length divides: only the content can tell
    except DamagedInput as error:
        assert error.reason is Reason.BAD_LIDAR and len(str(error)) < 900
        return str(error)
    return ""


def _accepted(folder: Path, name: str, points: np.ndarray, seed: int) -> list[str]:
    sensor = SWEEPS[name][0]
    return [what for what, data in other_layouts(points, seed) if not refusal(folder, data, sensor)]


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_of_the_sensor_is_read(tmp_path: Path, name: str) -> None:
    sensor, sweep = SWEEPS[name]
    for seed in range(3):
        points = sweep(seed)
        np.testing.assert_array_equal(read(tmp_path, points.tobytes(), sensor), points[:, :3])


@pytest.mark.parametrize("name", SWEEPS)
def test_a_file_of_another_layout_is_refused(tmp_path: Path, name: str) -> None:
    assert _accepted(tmp_path, name, SWEEPS[name][1](1), seed=1) == []


@pytest.mark.parametrize("name", SWEEPS)
def test_a_file_of_another_sensor_is_refused(tmp_path: Path, name: str) -> None:
    for other in SWEEPS.keys() - {name}:
        found = refusal(tmp_path, SWEEPS[other][1](2).tobytes(), SWEEPS[name][0])
        assert f"its content fits a file of {SWEEPS[other][0].name}" in found or "points" in found


def test_points_in_any_order_are_read(tmp_path: Path) -> None:
    for sensor, sweep in SWEEPS.values():
        points = np.random.default_rng(0).permutation(sweep(0))
        assert len(read(tmp_path, points.tobytes(), sensor)) == len(points)


def test_the_refusal_says_what_was_found_and_expected(tmp_path: Path) -> None:
    points = nuscenes_sweep()
    four = points[:, :4]
    message = refusal(tmp_path, four.tobytes(), NUSCENES_LIDAR)
    assert "column 4 of" in message and "not a plausible intensity" in message
    assert "its content fits 4 values of little-endian float32 per point, in metres" in message
    assert "Expected 5 little-endian float32 per point of nuScenes' Velodyne HDL-32E" in message
    assert "4 values of float64" in _expecting(tmp_path, four.astype("<f8"))
    assert "5 values of big-endian float32" in _expecting(tmp_path, points.astype(">f4"))
    in_mm = points * np.array([1000, 1000, 1000, 1, 1], "<f4")
    assert "per point, in millimetres" in _expecting(tmp_path, in_mm)


def _expecting(folder: Path, values: np.ndarray) -> str:
    with pytest.raises(DamagedInput) as caught:
        read(folder, values[: len(values) // 5 * 5].tobytes(), NUSCENES_LIDAR)
    return str(caught.value)


def test_another_sensor_can_be_declared(tmp_path: Path) -> None:
    points = nuscenes_sweep()
    points[:, 4] = 63 - points[:, 4]  # 64 lasers, counted from above
    assert refusal(tmp_path, points.tobytes(), NUSCENES_LIDAR)
    assert len(read(tmp_path, points.tobytes(), ANY_LIDAR)) == len(points)
    assert refusal(tmp_path, (points * 1e4).tobytes(), ANY_LIDAR)


def test_a_frame_with_a_wrong_sweep_is_refused_or_read_as_declared(tmp_path: Path) -> None:
    folder = fixture.build(tmp_path, scenes=fixture.SCENES[:1])
    for path in tmp_path.glob("samples/LIDAR_TOP/*.bin"):
        points = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, 5).copy()
        points[:, 4] += 32
        path.write_bytes(points.tobytes())
    config = NuScenesConfig(root=folder.root, cameras=("CAM_FRONT",))
    assert set(fixture.failures(NuScenesSource(config)).values()) == {Reason.BAD_LIDAR}
    other = NuScenesSource(config.model_copy(update={"lidar": "other"}))
    assert not fixture.failures(other)


def test_a_planar_scan_of_another_layout_is_refused() -> None:
    scan = lms_scan()
    assert scan_problem(scan) == ""
    assert scan_problem(scan[:5]) == "" and scan_problem(scan[:0]) == ""
    for what, data in _other_scans(scan):
        whole = np.frombuffer(data[: len(data) // 24 * 24], "<f8").reshape(-1, 3)
        assert scan_problem(whole), what


def _other_scans(scan: np.ndarray) -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    flat = np.column_stack([scan[:, :2], rng.normal(0, 0.3, len(scan))])
    one = scan.copy()
    one[7, 0] = 3e38
    return [
        ("float32", scan.astype("<f4").tobytes()),
        ("big-endian", scan.astype(">f8").tobytes()),
        ("int32", (scan * 1000).astype("<i4").tobytes()),
        ("millimetres", (scan * [1000, 1000, 1]).tobytes()),
        ("kilometres", (scan * [1e-3, 1e-3, 1]).tobytes()),
        ("two columns", np.ascontiguousarray(scan[:, :2]).tobytes()),
        ("four columns", np.column_stack([scan, scan[:, 2]]).tobytes()),
        ("x and y swapped", np.ascontiguousarray(scan[:, [1, 0, 2]]).tobytes()),
        ("x mirrored", (scan * [-1, 1, 1]).tobytes()),
        ("reflectance first", np.ascontiguousarray(scan[:, [2, 0, 1]]).tobytes()),
        ("column by column", np.ascontiguousarray(scan.T).tobytes()),
        ("an LD-MRS", flat.tobytes()),
        ("a Velodyne", nuscenes_sweep().astype("<f8").tobytes()),
        ("3e38", one.tobytes()),
        ("random", rng.bytes(300)),
    ]


@pytest.mark.campaign
@pytest.mark.parametrize("name", SWEEPS)
def test_no_layout_of_many_sweeps_is_accepted(tmp_path: Path, name: str) -> None:
    for seed in range(6):
        assert _accepted(tmp_path, name, SWEEPS[name][1](seed), seed) == []


@pytest.mark.parametrize("name", REAL)
def test_real_sweeps_pass_and_their_other_layouts_do_not(tmp_path: Path, name: str) -> None:
    if not REAL[name]:
        pytest.skip("no real sweeps next to this checkout")
    sensor = SWEEPS[name][0]
    sweeps = [np.fromfile(path, "<f4").reshape(-1, sensor.values_per_point) for path in REAL[name]]
    assert [sensor.problem(points) for points in sweeps] == [""] * len(sweeps)
    assert _accepted(tmp_path, name, sweeps[0], seed=0) == []
