"""RobotCar's vehicle trajectory: chained visual odometry or INS poses, interpolated.

`vo/vo.csv` has source_timestamp, destination_timestamp, x, y, z, roll, pitch, yaw. A row is
T_destination_source, and the source is the LATER image: T_world_source is T_world_destination times
the row. `gps/ins.csv` has timestamp, ins_status, latitude, longitude, altitude, northing, easting,
down, utm_zone, three velocities, roll, pitch, yaw: the pose of the INS, x north, y east, z down.
Metres and radians, R = Rz(yaw) Ry(pitch) Rx(roll) (ori-mrg/robotcar-dataset-sdk). The SDK floors
fractions of time with `//` and so takes the earlier pose; here poses are interpolated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.robotcar.camera import parse_floats, transform_from_euler

VO, INS = "vo/vo.csv", "gps/ins.csv"
MAX_CSV_BYTES = 256 << 20
MAX_STEP_US = 500_000  # longer ones are not interpolated
MAX_STEP_M = 30.0  # per step; that is over 200 km/h
GOOD = "INS_SOLUTION_GOOD"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of the vehicle frame relative to the first timestamp.

    A new `piece` begins after a gap in the odometry. Its poses continue from the last one as if the
    car had stood still, so poses are comparable only within a piece.
    """

    name: str
    times_us: np.ndarray  # (N,) int64, increasing
    poses: np.ndarray  # (N, 4, 4) float64, metres: T_first_vehicle
    piece: np.ndarray  # (N,) int
    unreadable: Sequence[str] = ()  # descriptions of the file's bad lines

    def piece_at(self, times_us: np.ndarray) -> np.ndarray:
        """Piece (M,) that contains each time (M,); -1 for times without a pose."""
        before = np.searchsorted(self.times_us, times_us, side="right") - 1  # (M,)
        after = np.searchsorted(self.times_us, times_us, side="left")
        inside = (before >= 0) & (after < len(self.times_us))
        before, after = before.clip(0), after.clip(None, len(self.times_us) - 1)
        return np.where(inside & (self.piece[before] == self.piece[after]), self.piece[before], -1)

    def at(self, times_us: np.ndarray) -> np.ndarray:
        """Interpolate poses (M, 4, 4) at times (M,): linear in translation, slerp in rotation.

        Raises DamagedInput(BAD_POSE) for a time before, after or in a gap of the trajectory.
        """
        outside = times_us[self.piece_at(times_us) < 0]
        if len(outside):
            raise self._no_pose(int(outside[0]))
        start = self.times_us[0]
        known_us, wanted_us = self.times_us - start, times_us - start
        poses = np.tile(np.eye(4), (len(times_us), 1, 1))
        rows = self._around(wanted_us)
        turn = Slerp(known_us[rows], Rotation.from_matrix(self.poses[rows, :3, :3]))
        poses[:, :3, :3] = turn(wanted_us).as_matrix()
        for axis in range(3):
            poses[:, axis, 3] = np.interp(wanted_us, known_us, self.poses[:, axis, 3])
        return poses

    def _around(self, wanted_us: np.ndarray) -> slice:
        """Select the poses around the given times; Slerp is slow on a whole traverse."""
        known_us = self.times_us - self.times_us[0]
        first = int(np.searchsorted(known_us, wanted_us.min(), side="right")) - 1
        last = int(np.searchsorted(known_us, wanted_us.max(), side="left"))
        if first == last:  # exactly at one pose; Slerp needs two
            first, last = (first, first + 1) if first == 0 else (first - 1, first)
        return slice(first, last + 1)

    def _no_pose(self, time_us: int) -> DamagedInput:
        bad = self.unreadable
        words = f"; {len(bad)} of its lines are bad, {bad[0]}" if bad else ""
        return DamagedInput(
            Reason.BAD_POSE,
            f"{self.name} has no pose at {time_us} us: it covers {self.times_us[0]} to "
            f"{self.times_us[-1]} in {self.piece[-1] + 1} pieces without a step over "
            f"{MAX_STEP_US // 1000} ms{words}. Copy it again, or leave "
            "the frame out",
        )


def read_trajectory(files: Files, traverse: str, T_vehicle_ins: np.ndarray) -> Trajectory | None:
    """Read poses from vo/vo.csv, else gps/ins.csv; None if both are absent. Raises DamagedInput."""
    for name, read in ((VO, _chain), (INS, _ins_nodes)):
        path = f"{traverse}/{name}"
        try:
            text = files.read_text(path, MAX_CSV_BYTES)
        except DamagedInput as error:
            if error.reason is Reason.MISSING_FILE:
                continue
            raise
        lines = text.splitlines()[1:]  # the first one names the columns
        unreadable: list[str] = []
        nodes = list(read(lines, T_vehicle_ins, unreadable))
        if len(nodes) < 2:
            found = unreadable[0] if unreadable else f"it has {len(lines)} lines"
            raise DamagedInput(
                Reason.BAD_POSE, f"{path} contains no motion: {found}. Copy it from the original"
            )
        times_us, poses, piece = zip(*nodes, strict=True)
        first = invert_rigid(poses[0])
        return Trajectory(
            path, np.array(times_us, np.int64), first @ np.stack(poses), np.array(piece), unreadable
        )
    return None


Node = tuple[int, np.ndarray, int]  # time in microseconds, pose (4, 4), piece


def _chain(
    lines: Sequence[str], _T_vehicle_ins: np.ndarray, unreadable: list[str]
) -> Iterator[Node]:
    rows = [(number, row) for number, row in _rows(lines, range(8), 2, unreadable)]
    steps = transform_from_euler(np.array([row[1] for _, row in rows]).reshape(-1, 6))
    pose, last_us, piece = np.eye(4), None, -1
    for (number, ((later_us, earlier_us), _)), step in zip(rows, steps, strict=True):
        problem = _step_problem(earlier_us, later_us, last_us, step)
        if problem:
            unreadable.append(f"line {number} {problem}")
            continue
        if earlier_us != last_us:
            piece += 1
            yield earlier_us, pose, piece
        pose, last_us = pose @ step, later_us
        yield later_us, pose, piece


def _step_problem(earlier_us: int, later_us: int, last_us: int | None, step: np.ndarray) -> str:
    if not 0 < later_us - earlier_us <= MAX_STEP_US:
        return f"goes from {earlier_us} to {later_us} us; expected a later source, by at most 0.5 s"
    if last_us is not None and earlier_us < last_us:
        return f"begins at {earlier_us} us, before the end of the row above it"
    if np.abs(step[:3, 3]).max() > MAX_STEP_M:
        return f"moves by {np.abs(step[:3, 3]).max():.3g} m in one step"
    return ""


def _ins_nodes(
    lines: Sequence[str], T_vehicle_ins: np.ndarray, unreadable: list[str]
) -> Iterator[Node]:
    good = [line if line.split(",")[1:2] == [GOOD] else "" for line in lines]
    rows = [(number, row) for number, row in _rows(good, (0, 5, 6, 7, -3, -2, -1), 1, unreadable)]
    poses = transform_from_euler(np.array([row[1] for _, row in rows]).reshape(-1, 6))
    last_us, piece = None, -1
    for (number, ((time_us,), _)), pose in zip(rows, poses, strict=True):
        if last_us is not None and time_us <= last_us:
            unreadable.append(f"line {number} has time {time_us} us, not after the row above")
            continue
        if last_us is None or time_us - last_us > MAX_STEP_US:
            piece += 1
        last_us = time_us
        yield time_us, pose @ invert_rigid(T_vehicle_ins), piece


def _rows(
    lines: Sequence[str], columns: Sequence[int], num_times: int, unreadable: list[str]
) -> Iterator[tuple[int, tuple[tuple[int, ...], np.ndarray]]]:
    """Yield line number, times and x, y, z, roll, pitch, yaw of every valid line."""
    for number, line in enumerate(lines, start=2):
        words = line.split(",")
        if not line.strip():
            continue
        try:
            chosen = [words[column] for column in columns]
            times_us = tuple(int(word) for word in chosen[:num_times])
        except (IndexError, ValueError):
            chosen, times_us = [], ()
        values = parse_floats(chosen[num_times:])
        if not times_us or values is None or not all(0 < t < 1 << 62 for t in times_us):
            unreadable.append(f"line {number} is {line[:80]!r}: not times in us and finite numbers")
            continue
        yield number, (times_us, values)
