"""Odometry and laser files that are not as they should be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.robotcar.camera import transform_from_euler
from nightrain.datasets.sources.robotcar.lms import LmsScans
from nightrain.datasets.sources.robotcar.poses import Trajectory, read_trajectory

NAME = "2014-12-09-13-21-02"
START_US, STEP_US = 1_418_132_416_000_000, 62_500
HEADER = "source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw"


def row(step: int, *, x: object = 1.0, yaw: float = 0.0) -> str:
    """The odometry from picture `step` - 1 to picture `step`."""
    return f"{at(step)},{at(step - 1)},{x},0,0,0,0,{yaw}"


def at(step: float) -> int:
    return START_US + round(step * STEP_US)


def write(root: Path, rows: list[str], name: str = "vo/vo.csv", header: str = HEADER) -> Files:
    path = root / NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return Files(root, Checksums(root))


def chain(root: Path, rows: list[str]) -> Trajectory:
    trajectory = read_trajectory(write(root, rows), NAME, np.eye(4))
    assert trajectory is not None
    return trajectory


def places_m(trajectory: Trajectory, *steps: float) -> np.ndarray:
    return trajectory.at(np.array([at(step) for step in steps]))[:, :3, 3]


# ---------------------------------------------------------------- conventions


def test_a_row_takes_the_later_frame_to_the_earlier_one(tmp_path: Path) -> None:
    """Ahead 1 m, then a quarter turn to the right (z is down) and 1 m ahead again."""
    trajectory = chain(tmp_path, [row(1), row(2, yaw=np.pi / 2), row(3), row(4)])
    expected = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 0]]
    np.testing.assert_allclose(places_m(trajectory, 0, 1, 2, 3, 4), expected, atol=1e-12)
    np.testing.assert_allclose(places_m(trajectory, 0.25, 3.5), [[0.25, 0, 0], [2, 1.5, 0]])
    # Half of the quarter turn is done half-way.
    ahead = trajectory.at(np.array([at(1.5)]))[0, :3, 0]
    np.testing.assert_allclose(ahead, [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-12)


def test_euler_angles_turn_about_x_then_y_then_z() -> None:
    roll, pitch, yaw = 0.3, -0.5, 1.1
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    expected = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    )
    found = transform_from_euler(np.array([[1.0, 2.0, 3.0, roll, pitch, yaw]]))[0]
    np.testing.assert_allclose(found[:3, :3], expected, atol=1e-15)
    np.testing.assert_array_equal(found[:, 3], [1, 2, 3, 1])


def test_the_ins_stands_where_its_mounting_says(tmp_path: Path) -> None:
    """The INS sits 1.7 m behind the vehicle's origin and turns: the origin swings around it."""
    T_vehicle_ins = np.eye(4)
    T_vehicle_ins[0, 3] = -1.7
    rows = [
        f"{at(k)},INS_SOLUTION_GOOD,51,-1,100,5735000,620000,-100,30U,0,0,0,0,0,{k * np.pi / 4}"
        for k in range(3)
    ]
    files = write(tmp_path, rows, "gps/ins.csv", "timestamp,ins_status,...")
    trajectory = read_trajectory(files, NAME, T_vehicle_ins)
    assert trajectory is not None
    np.testing.assert_allclose(places_m(trajectory, 2)[0], [-1.7, 1.7, 0], atol=1e-6)


def test_poses_of_a_bad_solution_are_left_out(tmp_path: Path) -> None:
    good = [f"{at(k)},INS_SOLUTION_GOOD,51,-1,100,{k},0,0,30U,0,0,0,0,0,0" for k in range(30)]
    bad = [line.replace("GOOD", "NOT_GOOD") for line in good]
    files = write(tmp_path, [*good[:10], *bad[10:20], *good[20:]], "gps/ins.csv", "timestamp")
    trajectory = read_trajectory(files, NAME, np.eye(4))
    assert trajectory is not None and len(trajectory.times_us) == 20
    assert trajectory.piece_at(np.array([at(9), at(9.5), at(25)])).tolist() == [0, -1, 1]


# ---------------------------------------------------------------- gaps


def test_a_gap_ends_a_piece_and_hides_what_lies_in_it(tmp_path: Path) -> None:
    trajectory = chain(tmp_path, [row(1), row(2), row(6), row(7)])
    steps = np.array([at(s) for s in (-1, 0, 1.5, 2, 3.5, 5, 6.5, 7, 7.1)])
    assert trajectory.piece_at(steps).tolist() == [-1, 0, 0, 0, -1, 1, 1, 1, -1]
    np.testing.assert_allclose(places_m(trajectory, 6.5), [[3.5, 0, 0]])  # it stood in the gap
    for step in (-1, 3.5, 7.1):
        with pytest.raises(DamagedInput, match=f"no pose at {at(step)}") as caught:
            places_m(trajectory, 1, step)
        assert caught.value.reason is Reason.BAD_POSE


@pytest.mark.parametrize(
    "bad",
    [
        row(3, x="nan"),
        row(3, x="inf"),
        row(3, x="one"),
        row(3, x=1e9),
        row(3)[:20],
        f"{at(2)},{at(3)},1,0,0,0,0,0",  # the earlier picture first
        f"{at(3) + 1_000_000},{at(2)},1,0,0,0,0,0",
        row(1),  # a second time
        "x" * 100,
    ],
)
def test_a_bad_row_costs_its_own_step(tmp_path: Path, bad: str) -> None:
    trajectory = chain(tmp_path, [row(1), row(2), bad, row(4), row(5)])
    times_us = np.array([at(s) for s in (1.5, 2.5, 4.5)])
    assert trajectory.piece_at(times_us).tolist() == [0, -1, 1]
    with pytest.raises(DamagedInput, match=r"1 of its lines are bad, line 4 "):
        places_m(trajectory, 2.5)


@pytest.mark.parametrize("rows", [[], ["no,numbers"], [row(1, x="nan")]])
def test_a_file_without_motion_is_damaged(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(DamagedInput, match="contains no motion") as caught:
        chain(tmp_path, rows)
    assert caught.value.reason is Reason.BAD_POSE


# ---------------------------------------------------------------- laser


def scan(xy: list[tuple[float, float]]) -> bytes:
    return np.array([[x, y, 300.0] for x, y in xy], "<f8").tobytes()


@pytest.fixture
def scans(tmp_path: Path) -> Callable[[], np.ndarray]:
    """Ten scans of a point 5 m along the laser's x axis; the car moves 1 m ahead per step."""
    write(tmp_path, [row(k) for k in range(1, 10)])
    folder = tmp_path / NAME / "lms_front"
    folder.mkdir()
    for k in range(10):
        (folder / f"{at(k)}.bin").write_bytes(scan([(5.0, 0.0), (0.0, 0.0), (80.0, 0.0)]))
    times = "".join(f"{at(k)} 1\n" for k in range(10))
    (tmp_path / NAME / "lms_front.timestamps").write_text(times)

    def points() -> np.ndarray:
        files = Files(tmp_path, Checksums(tmp_path))
        trajectory = read_trajectory(files, NAME, np.eye(4))
        assert trajectory is not None
        return LmsScans(files, NAME, np.eye(4)).points(trajectory, at(4), 4.0)

    return points


def test_scans_move_with_the_car(scans: Callable[[], np.ndarray]) -> None:
    expected = [[5.0 + k - 4, 0, 0] for k in range(10)]  # no return and too far are left out
    np.testing.assert_allclose(scans(), expected, atol=1e-9)


def test_single_missing_scans_are_passed_over(
    scans: Callable[[], np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / NAME / f"lms_front/{at(3)}.bin").unlink()
    assert len(scans()) == 9
    (tmp_path / NAME / f"lms_front/{at(5)}.bin").unlink()
    with pytest.raises(DamagedInput, match=r"2 of the 10 scans .* missing chunk") as caught:
        scans()
    assert caught.value.reason is Reason.MISSING_FILE


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (scan([(5.0, 0.0)])[:-3], Reason.BAD_LIDAR, "not a multiple of 24"),
        (scan([(np.nan, 0.0)]), Reason.BAD_LIDAR, "1 of 1 points are not finite"),
        (scan([(3e38, 0.0)]), Reason.BAD_LIDAR, "1 of 1 points are more than 140 m away"),
    ],
)
def test_a_damaged_scan_is_named(
    scans: Callable[[], np.ndarray], tmp_path: Path, data: bytes, reason: Reason, words: str
) -> None:
    (tmp_path / NAME / f"lms_front/{at(3)}.bin").write_bytes(data)
    with pytest.raises(DamagedInput, match=words) as caught:
        scans()
    assert caught.value.reason is reason and str(at(3)) in str(caught.value)


def test_empty_scans_are_without_returns(scans: Callable[[], np.ndarray], tmp_path: Path) -> None:
    for k in (3, 5):
        (tmp_path / NAME / f"lms_front/{at(k)}.bin").write_bytes(b"")
    assert len(scans()) == 8


def test_scans_beyond_a_gap_are_left_out(scans: Callable[[], np.ndarray], tmp_path: Path) -> None:
    write(tmp_path, [row(k) for k in range(1, 10) if k != 7])
    assert len(scans()) == 7
