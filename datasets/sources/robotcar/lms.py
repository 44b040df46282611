"""RobotCar's front laser: planar scans, accumulated along the trajectory into one point cloud.

`lms_front/<timestamp>.bin` holds float64 triplets x, y in metres and reflectance, in the laser's
own plane z = 0 (ori-mrg/robotcar-dataset-sdk). As in the SDK, a scan is treated as instantaneous.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.robotcar.poses import Trajectory

LMS = "lms_front"
MAX_TIMES_BYTES = 64 << 20
MAX_SCAN_BYTES = 1 << 20
POINT_BYTES = 24
MAX_POINTS = 1081
MAX_REFLECTANCE = 65535
MAX_MEASURED_M = 140.0  # distances have 16 bits of 1 or 2 mm
MIN_MEDIAN_M = 0.3
MIN_RETURNS = 20  # the shape of fewer shows nothing
MAX_ANGLE_RAD = np.radians(140.0)
MAX_BEHIND_SHARE = 0.05
MAX_RANGE_M = 60.0  # the LMS-151 measures up to 50 m; more, or 0, means no return
CACHED_SCANS = 1024  # 8 s at 50 Hz are 400; 9 MB
MIN_PRESENT = 0.9  # share of a window's scans: the original data lack single files


class LmsScans:
    """Scans of one traverse, read on demand; the latest ones are cached."""

    def __init__(self, files: Files, traverse: str, T_vehicle_laser: np.ndarray) -> None:
        self._files, self._folder = files, f"{traverse}/{LMS}"
        self._T_vehicle_laser = T_vehicle_laser
        self.times_us = read_times_us(files, f"{traverse}/{LMS}.timestamps")
        self._scan = lru_cache(maxsize=CACHED_SCANS)(self._read)

    def points(self, trajectory: Trajectory, time_us: int, window_s: float) -> np.ndarray:
        """Point cloud (N, 3) float64 in metres, in the vehicle frame at `time_us`.

        It contains all scans within +-window_s on the same piece of the trajectory. Raises
        DamagedInput for a damaged scan, or if more than 10 % of the scans are missing.
        """
        T_first_vehicle = trajectory.at(np.array([time_us]))[0]
        times_us = self._around(trajectory, time_us, window_s)
        scans = [self._scan(int(t)) for t in times_us]
        present = [i for i, scan in enumerate(scans) if scan is not None]
        self._check_present(times_us, present)
        kept: list[np.ndarray] = [scan for scan in scans if scan is not None]
        if not kept:
            return np.zeros((0, 3))
        T_vehicle_vehicle = invert_rigid(T_first_vehicle) @ trajectory.at(times_us[present])
        T = T_vehicle_vehicle @ self._T_vehicle_laser  # (S, 4, 4)
        # z = 0 in the laser frame, so its z axis does not contribute.
        moved = [xy @ t[:3, :2].T + t[:3, 3] for xy, t in zip(kept, T, strict=True)]
        return np.concatenate(moved)

    def _around(self, trajectory: Trajectory, time_us: int, window_s: float) -> np.ndarray:
        half_us = round(window_s * 1e6)
        first, last = np.searchsorted(self.times_us, [time_us - half_us, time_us + half_us + 1])
        times_us = self.times_us[first:last]
        piece = trajectory.piece_at(np.array([time_us]))[0]
        return times_us[trajectory.piece_at(times_us) == piece]

    def _check_present(self, times_us: np.ndarray, present: Sequence[int]) -> None:
        if len(present) < MIN_PRESENT * len(times_us):
            absent = sorted({*range(len(times_us))} - {*present})
            raise DamagedInput(
                Reason.MISSING_FILE,
                f"{len(absent)} of the {len(times_us)} scans around this image are not in "
                f"{self._folder}, the first is {times_us[absent[0]]}.bin; {LMS}.timestamps names "
                "them. Download the missing chunk of the laser",
            )

    def _read(self, time_us: int) -> np.ndarray | None:
        """Read a scan (N, 2) float64, in metres in its plane; None for an absent file."""
        name = f"{self._folder}/{time_us}.bin"
        try:
            data = self._files.read_or_empty(name, MAX_SCAN_BYTES)
        except DamagedInput as error:
            if error.reason is Reason.MISSING_FILE:
                return None
            raise
        if len(data) % POINT_BYTES:
            raise _refused(name, f"has {len(data)} bytes, which is not a multiple of {POINT_BYTES}")
        scan = np.frombuffer(data, "<f8").reshape(-1, 3)
        if problem := scan_problem(scan):
            raise _refused(name, f"is not plausible: {problem}")
        range_m = np.hypot(scan[:, 0], scan[:, 1])
        return scan[(range_m > 0) & (range_m <= MAX_RANGE_M), :2]


def scan_problem(scan: np.ndarray) -> str:
    """What makes a scan (N, 3) of x, y, reflectance implausible for an LMS-151; "" if nothing does.

    It measures 270 degrees around its x axis, from 0.5 m to 50 m, in steps of 0.25 or 0.5 degrees.
    """
    if len(scan) > MAX_POINTS:
        return f"it has {len(scan)} points; a scan has at most {MAX_POINTS}"
    if bad := int(np.count_nonzero(~np.isfinite(scan).all(axis=1))):
        return f"{bad} of {len(scan)} points are not finite numbers"
    if bad := int(np.count_nonzero((scan[:, 2] < 0) | (scan[:, 2] > MAX_REFLECTANCE))):
        return f"{bad} of {len(scan)} reflectances are not between 0 and {MAX_REFLECTANCE}"
    with np.errstate(over="ignore"):
        range_m = np.hypot(scan[:, 0], scan[:, 1])
    if bad := int(np.count_nonzero(range_m > MAX_MEASURED_M)):
        return f"{bad} of {len(scan)} points are more than {MAX_MEASURED_M:g} m away"
    returns = scan[range_m > 0]
    if len(returns) < MIN_RETURNS:
        return ""
    median_m = float(np.median(range_m[range_m > 0]))
    if median_m < MIN_MEDIAN_M:
        return f"half of the points are within {median_m:.3g} m; expected {MIN_MEDIAN_M:g} m"
    behind = np.mean(np.abs(np.arctan2(returns[:, 1], returns[:, 0])) > MAX_ANGLE_RAD)
    if behind > MAX_BEHIND_SHARE:
        return f"{behind:.0%} of the points are behind the laser, where it does not measure"
    return ""


def _refused(name: str, problem: str) -> DamagedInput:
    return DamagedInput(
        Reason.BAD_LIDAR,
        f"{name} {problem}; it may be truncated, or of another sensor. Expected 3 little-endian "
        "float64 per point of RobotCar's LMS-151 (x, y in metres, reflectance). Copy it from the "
        "original",
    )


def read_times_us(files: Files, name: str) -> np.ndarray:
    """Read the times (N,) int64 in microseconds, sorted, of a .timestamps file.

    A line is "<timestamp> <number of the chunk>". Raises DamagedInput.
    """
    lines = files.read_text(name, MAX_TIMES_BYTES).splitlines()
    times_us = []
    for number, line in enumerate(lines, start=1):
        word = line.split(" ", 1)[0]
        if not (word.isascii() and word.isdigit() and len(word) < 19):
            raise DamagedInput(
                Reason.BAD_RECORD,
                f"{name} line {number} is {line[:60]!r}; expected a time in microseconds and the "
                "number of a chunk. Copy the file from the original",
            )
        times_us.append(int(word))
    return np.unique(np.array(times_us, np.int64))
