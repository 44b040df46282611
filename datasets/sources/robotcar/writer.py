"""RobotCar writer: writes drives through scenery of known geometry, to test the reader.

It applies the effects that a reader inverts: lens distortion, a Bayer pattern, odometry as
differences, a laser that scans one plane. The calibration is synthetic; only the formats are
RobotCar's (see camera.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.io.images import encode_depth_png
from nightrain.datasets.sources.robotcar.camera import (
    VISIBLE_ROWS,
    T_ego_vehicle,
    transform_from_euler,
)

SIZE = (1280, 960)
INTRINSICS = np.array([[980.0, 0.0, 641.25], [0.0, 980.0, 489.5], [0.0, 0.0, 1.0]])
RADIAL = (-0.14, 0.03)  # Brown's k1, k2: barrel distortion
TANGENTIAL = (4e-4, -3e-4)  # p1, p2
STEREO = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # x y z roll pitch yaw
INS = (-1.70, 0.12, 1.20, -0.010, 0.055, 0.008)
LMS_FRONT = (1.75, 0.22, 1.00, -0.040, -1.450, 0.030)

STEP_US = 62_500  # stereo images and odometry: 16 Hz
SCAN_STEP_US = 20_000  # 50 Hz
NUM_SECTORS, RAYS_PER_SECTOR = 4, 135  # 270 degrees in steps of 0.5
SECTOR_RAD = np.radians(270.0) / NUM_SECTORS
MAX_RANGE_M = 50.0
ORIGIN_NED_M = (5_735_000.0, 620_000.0, -110.0)

VO_HEADER = "source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw"
INS_HEADER = (
    "timestamp,ins_status,latitude,longitude,altitude,northing,easting,down,utm_zone,"
    "velocity_north,velocity_east,velocity_down,roll,pitch,yaw"
)


@dataclass(frozen=True)
class Lens:
    """Lens of a sensor: `rays(u, v)` returns the rays (3, ...) through pixels, with z = 1."""

    size: tuple[int, int]  # (width, height)
    rays: Callable[[np.ndarray, np.ndarray], np.ndarray]  # x right, y down, z ahead
    pinhole: np.ndarray | None = None  # (3, 3) intrinsics of a pinhole lens


class RecordedDrive(Protocol):
    """Drive of a car through scenery that can be rendered and measured."""

    def T_world_ego(self, t_s: float) -> np.ndarray:
        """Pose (4, 4) in metres of the ego: x ahead, y left, z up, on the road."""
        ...

    def look(
        self, t_s: float, T_world_sensor: np.ndarray, lens: Lens
    ) -> tuple[np.ndarray, np.ndarray]:
        """Render an image (H, W, 3) uint8 and its z-depth (H, W) in metres, 0 = nothing."""
        ...

    def measure(
        self, t_s: float, T_world_sensors: Sequence[np.ndarray], lens: Lens
    ) -> list[np.ndarray]:
        """Measure z-depths (H, W) in metres, 0 = nothing, of several sensors at one time."""
        ...


@dataclass(frozen=True)
class BrownLens:
    """Brown's distortion (1966) of a pinhole: position of undistorted pixels in the raw image."""

    radial: tuple[float, float] = RADIAL
    tangential: tuple[float, float] = TANGENTIAL

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distort image coordinates; both with z = 1."""
        (k1, k2), (p1, p2), r2 = self.radial, self.tangential, x * x + y * y
        stretch = 1 + k1 * r2 + k2 * r2 * r2
        bent_x = x * stretch + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        return bent_x, y * stretch + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Rays (3, ...) through raw pixels, by fixed-point iteration on `distort`."""
        (fx, _, cx), (_, fy, cy), _ = INTRINSICS
        bent_x, bent_y = (u - cx) / fx, (v - cy) / fy
        x, y = bent_x, bent_y
        for _ in range(25):
            again_x, again_y = self.distort(x, y)
            x, y = x + bent_x - again_x, y + bent_y - again_y
        return np.stack([x, y, np.ones_like(x)])

    def lookup(self, size: tuple[int, int]) -> np.ndarray:
        """Distortion table (2, H, W): u and v in the raw image of every undistorted pixel."""
        (fx, _, cx), (_, fy, cy), _ = INTRINSICS
        v, u = np.mgrid[0.0 : size[1], 0.0 : size[0]]
        bent_x, bent_y = self.distort((u - cx) / fx, (v - cy) / fy)
        return np.stack([fx * bent_x + cx, fy * bent_y + cy])

    @cached_property
    def lens(self) -> Lens:
        """Lens of the raw camera; the rays of whole pixels are computed once."""
        v, u = np.mgrid[0.0 : SIZE[1], 0.0 : SIZE[0]]
        whole = self.rays(u, v)

        def rays(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            return whole if u.shape == whole.shape[1:] else self.rays(u, v)

        return Lens(SIZE, rays)


def pinhole(intrinsics: np.ndarray, size: tuple[int, int]) -> Lens:
    """Lens of an undistorted image of (width, height)."""
    inverse = np.linalg.inv(intrinsics)
    return Lens(
        size, lambda u, v: np.tensordot(inverse, np.stack([u, v, np.ones_like(u)]), 1), intrinsics
    )


def mosaic(image: np.ndarray) -> np.ndarray:
    """Bayer image (H, W) uint8 of RGB (H, W, 3): rows G B, R G, as in the stereo camera."""
    bayer = image[..., 1].copy()
    bayer[0::2, 1::2] = image[0::2, 1::2, 2]
    bayer[1::2, 0::2] = image[1::2, 0::2, 0]
    return bayer


def write_sdk(sdk: Path, tags: Mapping[str, Sequence[str]], bent: BrownLens | None = None) -> None:
    """Write the calibration of stereo/left, the INS and the front laser, and tags by traverse."""
    bent = bent or BrownLens()
    for folder in ("models", "extrinsics", "tags"):
        (sdk / folder).mkdir(parents=True, exist_ok=True)
    (fx, _, cx), (_, fy, cy), _ = INTRINSICS
    axes = "0 0 1 0\n1 0 0 0\n0 1 0 0\n0 0 0 1\n"  # image frame to camera frame
    (sdk / "models/stereo_wide_left.txt").write_text(f"{fx} {fy} {cx} {cy}\n{axes}")
    table = bent.lookup(SIZE).astype("<f8").tobytes()
    (sdk / "models/stereo_wide_left_distortion_lut.bin").write_bytes(table)
    for name, values in (("stereo", STEREO), ("ins", INS), ("lms_front", LMS_FRONT)):
        (sdk / f"extrinsics/{name}.txt").write_text(" ".join(map(str, values)) + "\n")
    for traverse, words in tags.items():
        (sdk / f"tags/{traverse}.yaml").write_text("".join(f"- {word}\n" for word in words))


@dataclass(frozen=True)
class TraverseWriter:
    """Writes one drive as the traverse `name` below `root`; times start at `start_us`."""

    root: Path
    name: str
    drive: RecordedDrive
    start_us: int
    seconds: float
    bent: BrownLens = BrownLens()

    def time_us(self, step: int) -> int:
        """Timestamp of stereo image `step`."""
        return self.start_us + step * STEP_US

    def T_world_vehicle(self, time_us: int) -> np.ndarray:
        """True pose (4, 4) in metres of the vehicle frame, which is the stereo camera's body."""
        T_ego = T_ego_vehicle(transform_from_euler(np.array([INS]))[0])
        return self.drive.T_world_ego((time_us - self.start_us) * 1e-6) @ T_ego

    def T_world_camera(self, time_us: int) -> np.ndarray:
        """True pose (4, 4) in metres of the left camera: x right, y down, z ahead."""
        T_vehicle_camera = np.eye(4)
        T_vehicle_camera[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
        return self.T_world_vehicle(time_us) @ T_vehicle_camera

    def write(
        self,
        steps: Sequence[int],
        *,
        truth: Path | None = None,
        truth_of: Sequence[int] | None = None,
    ) -> None:
        """Write odometry, INS and laser of the whole drive, and the stereo images of `steps`.

        Below `truth`, write the undistorted images and exact depths of `truth_of` (None: of all
        steps), cropped to the rows that the reader keeps.
        """
        self.write_motion()
        self._write_lms()
        self._write_times("stereo", [self.time_us(step) for step in steps])
        for step in steps:
            image, _ = self._look(step, self.bent.lens)
            path = self.root / self.name / "stereo/left" / f"{self.time_us(step)}.png"
            _write_png(path, mosaic(image))
        if truth is not None:
            for step in steps if truth_of is None else truth_of:
                self._write_truth(step, truth / self.name)

    def write_motion(self) -> None:
        """Write the odometry and the INS of the whole drive."""
        self._write_vo()
        self._write_ins()

    def _write_truth(self, step: int, folder: Path) -> None:
        image, depth_m = self._look(step, pinhole(INTRINSICS, (SIZE[0], VISIBLE_ROWS)))
        _write_png(folder / f"{self.time_us(step)}.png", image[..., ::-1])
        path = folder / f"{self.time_us(step)}.depth.png"
        path.write_bytes(encode_depth_png(depth_m))

    def _look(self, step: int, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
        T_world_camera = self.T_world_camera(self.time_us(step))
        return self.drive.look(step * STEP_US * 1e-6, T_world_camera, lens)

    def _write_vo(self) -> None:
        num_steps = int(self.seconds * 1e6) // STEP_US
        rows = [VO_HEADER]
        for step in range(1, num_steps + 1):
            later_us, earlier_us = self.time_us(step), self.time_us(step - 1)
            motion = invert_rigid(self.T_world_vehicle(earlier_us)) @ self.T_world_vehicle(later_us)
            rows.append(f"{later_us},{earlier_us},{_numbers(xyzrpy(motion))}")
        self._write_text("vo/vo.csv", rows)

    def _write_ins(self) -> None:
        T_vehicle_ins = transform_from_euler(np.array([INS]))[0]
        T_ned_world = np.diag([1.0, -1.0, -1.0, 1.0])
        T_ned_world[:3, 3] = ORIGIN_NED_M
        rows = [INS_HEADER]
        for time_us in self._times(SCAN_STEP_US):
            pose = xyzrpy(T_ned_world @ self.T_world_vehicle(time_us) @ T_vehicle_ins)
            where = f"51.75,-1.26,{-pose[2]!r},{_numbers(pose[:3])}"
            rows.append(f"{time_us},INS_SOLUTION_GOOD,{where},30U,0,0,0,{_numbers(pose[3:])}")
        self._write_text("gps/ins.csv", rows)

    def _write_lms(self) -> None:
        T_vehicle_laser = transform_from_euler(np.array([LMS_FRONT]))[0]
        times_us = self._times(SCAN_STEP_US)
        (self.root / self.name / "lms_front").mkdir(parents=True, exist_ok=True)
        for time_us in times_us:
            T_world_laser = self.T_world_vehicle(time_us) @ T_vehicle_laser
            scan = self._scan((time_us - self.start_us) * 1e-6, T_world_laser)
            path = self.root / self.name / "lms_front" / f"{time_us}.bin"
            path.write_bytes(scan.astype("<f8").tobytes())
        self._write_times("lms_front", times_us)

    def _scan(self, t_s: float, T_world_laser: np.ndarray) -> np.ndarray:
        """Scan (540, 3) of x, y in metres and reflectance; zeros without a return.

        The plane is measured through pinhole cameras with flat images, so the steps are even in the
        tangent: 0.5 degrees on average.
        """
        slope = np.linspace(-np.tan(SECTOR_RAD / 2), np.tan(SECTOR_RAD / 2), RAYS_PER_SECTOR)
        focal_px = 1 / (slope[1] - slope[0])
        flat = np.diag([focal_px, focal_px, 1.0])
        flat[0, 2] = (RAYS_PER_SECTOR - 1) / 2
        lens = pinhole(flat, (RAYS_PER_SECTOR, 1))
        angles_rad = [(k - (NUM_SECTORS - 1) / 2) * SECTOR_RAD for k in range(NUM_SECTORS)]
        axes = [(np.cos(a), np.sin(a)) for a in angles_rad]  # sector centres
        T_world_sectors = [T_world_laser @ _T_laser_sector(c, s) for c, s in axes]
        triplets = []
        for (c, s), depth_m in zip(
            axes, self.drive.measure(t_s, T_world_sectors, lens), strict=True
        ):
            z_m = depth_m[0].astype(np.float64)
            xy_m = np.outer(z_m, (c, s)) + np.outer(z_m * slope, (-s, c))
            back = (z_m > 0) & (np.hypot(*xy_m.T) <= MAX_RANGE_M)
            triplets.append(np.column_stack([xy_m, np.full(len(z_m), 300.0)]) * back[:, None])
        return np.concatenate(triplets)

    def _times(self, step_us: int) -> list[int]:
        # Odometry ends at a whole step: later times have no pose.
        end_us = int(self.seconds * 1e6) // STEP_US * STEP_US
        return [self.start_us + t for t in range(0, end_us + 1, step_us)]

    def _write_times(self, sensor: str, times_us: Sequence[int]) -> None:
        self._write_text(f"{sensor}.timestamps", [f"{time_us} 1" for time_us in times_us])

    def _write_text(self, name: str, rows: Sequence[str]) -> None:
        path = self.root / self.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row}\n" for row in rows))


def _T_laser_sector(c: float, s: float) -> np.ndarray:
    """Pose (4, 4) of a sector's camera in the laser frame; its axis is (c, s, 0)."""
    transform = np.eye(4)
    transform[:3, :3] = [[-s, 0, c], [c, 0, s], [0, 1, 0]]
    return transform


def xyzrpy(transform: np.ndarray) -> np.ndarray:
    """x, y, z in metres, roll, pitch, yaw in radians (6,) of a rigid transform (4, 4)."""
    angles = Rotation.from_matrix(transform[:3, :3]).as_euler("xyz")
    return np.concatenate([transform[:3, 3], angles])


def _numbers(values: np.ndarray) -> str:
    return ",".join(repr(float(value)) for value in values)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ValueError(f"OpenCV could not encode {path.name}")
    path.write_bytes(data.tobytes())
