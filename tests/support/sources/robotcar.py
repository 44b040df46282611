"""A street of plain bodies with exact depth, driven along in a bend, in RobotCar's layout."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.sources.robotcar.config import RobotCarConfig
from nightrain.datasets.sources.robotcar.source import RobotCarSource
from nightrain.datasets.sources.robotcar.writer import (
    STEP_US,
    BrownLens,
    Lens,
    TraverseWriter,
    write_sdk,
)

DAY, NIGHT = "2014-12-09-13-21-02", "2014-12-16-18-44-24"
START_US = 1_418_132_416_000_000
SECONDS = 6.0
MIDDLE = 48  # the stereo step at 3 s: +-3 s of laser
STEPS = (MIDDLE - 1, MIDDLE, MIDDLE + 1)

# Low and high corners in metres, world: x ahead, y left, z up.
BODIES = np.array(
    [
        [[-80, -80, -1.0], [160, 80, 0.0]],  # the ground
        [[-80, 9, 0], [160, 12, 8]],  # houses on the left
        [[-80, -12, 0], [160, -8, 7]],
        [[110, -80, 0], [112, 80, 20]],  # the end of the street
        [[52, 3.0, 0], [56, 4.8, 1.5]],  # a parked car
        [[40, -6.5, 0], [40.4, -6.1, 5]],  # a mast
    ]
)


@dataclass(frozen=True)
class Street:
    """Even speed along a bend, with pitch and roll that swing as a car's do."""

    speed_m_s: float = 8.0

    def T_world_ego(self, t_s: float) -> np.ndarray:
        yaw, pitch, roll = 0.02 * t_s, 0.01 * np.sin(3 * t_s), 0.008 * np.sin(2 * t_s + 1)
        radius_m = self.speed_m_s / 0.02
        transform = np.eye(4)
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
        transform[:3, :3] = (
            np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
            @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
            @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        )
        transform[:3, 3] = (radius_m * np.sin(yaw), radius_m * (1 - np.cos(yaw)) - 3.5, 0.0)
        return transform

    def look(
        self, t_s: float, T_world_sensor: np.ndarray, lens: Lens
    ) -> tuple[np.ndarray, np.ndarray]:
        v, u = np.mgrid[0.0 : lens.size[1], 0.0 : lens.size[0]]
        rays = np.tensordot(T_world_sensor[:3, :3], lens.rays(u, v), 1)  # (3, H, W)
        depth_m = cast(T_world_sensor[:3, 3], rays)
        points_m = T_world_sensor[:3, 3][:, None, None] + rays * depth_m
        image = paint(points_m, depth_m)
        image[depth_m == 0] = 180
        return np.rint(image).clip(0, 255).astype(np.uint8), depth_m.astype(np.float32)

    def measure(
        self, t_s: float, T_world_sensors: Sequence[np.ndarray], lens: Lens
    ) -> list[np.ndarray]:
        return [self.look(t_s, T, lens)[1] for T in T_world_sensors]


def cast(origin_m: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """How many rays (3, ...) it is to the nearest body, 0 = none: the slab method."""
    nearest = np.full(rays.shape[1:], np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for low, high in BODIES:
            enter, leave = np.full_like(nearest, 0.0), np.full_like(nearest, np.inf)
            for axis in range(3):
                a = (low[axis] - origin_m[axis]) / rays[axis]
                b = (high[axis] - origin_m[axis]) / rays[axis]
                enter = np.maximum(enter, np.minimum(a, b))
                leave = np.minimum(leave, np.maximum(a, b))
            nearest = np.where((enter <= leave) & (enter > 0), np.minimum(nearest, enter), nearest)
    return np.where(np.isfinite(nearest), nearest, 0.0)


def paint(points_m: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3), 0 to 255, of points (3, H, W): waves of four lengths, none too short.

    A wave fades where it has less than some ten pixels, which no camera would resolve.
    """
    image = np.full((*depth_m.shape, 3), 120.0)
    for length_m in (0.25, 1.0, 4.0, 16.0):
        fade = np.exp(-((depth_m * (0.004 + depth_m * 0.0012) / length_m) ** 2))
        x, y, z = points_m * (2 * np.pi / length_m)
        image[..., 0] += 32 * fade * np.sin(x + 0.3 * y) * np.cos(z - 0.9 * y)
        image[..., 1] += 32 * fade * np.sin(0.8 * x - 0.9 * y + 1.0) * np.cos(0.9 * z + 0.4 * x)
        image[..., 2] += 32 * fade * np.cos(0.5 * x + y) * np.sin(1.1 * z + 0.8 * x + 2.0)
    return image


def writer(root: Path, name: str = DAY, street: Street | None = None) -> TraverseWriter:
    return TraverseWriter(root, name, street or Street(), START_US, SECONDS, BENT)


BENT = BrownLens()  # shared: its rays are worked out once


def build(root: Path) -> None:
    """A traverse with three pictures, the same again as a night, the SDK, splits and the truth."""
    write_sdk(root / "sdk", {DAY: ["overcast"], NIGHT: ["night", "roadworks"]}, BENT)
    writer(root).write(STEPS, truth=root / "truth", truth_of=[MIDDLE])
    shutil.copytree(root / DAY, root / NIGHT)
    (root / "splits").mkdir()
    triplet = " ".join(str(time_us(step)) for step in STEPS)
    (root / f"splits/{DAY}_train_stride_1.txt").write_text(f"{triplet}\n")
    (root / f"splits/{NIGHT}_test.txt").write_text(f"{time_us(MIDDLE)} 4\n")


def time_us(step: int) -> int:
    return START_US + step * STEP_US


def build_plain(root: Path, num_images: int = 5) -> None:
    """The same files with grey pictures that show nothing, and without a laser: quick to write."""
    write_sdk(root / "sdk", {DAY: ["sun"], NIGHT: ["night", "roadworks"]}, BENT)
    for name in (DAY, NIGHT):
        writer(root, name).write_motion()
        for step in range(num_images):
            write_grey(root, step, name=name)
        lines = [f"{time_us(step)} 1\n" for step in range(num_images)]
        (root / name / "stereo.timestamps").write_text("".join(lines))


def write_grey(root: Path, step: int, level: int = 100, name: str = DAY) -> None:
    """A raw picture of one even brightness."""
    path = root / name / "stereo/left" / f"{time_us(step)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((960, 1280), level, np.uint8))


def source(root: Path, **options: object) -> RobotCarSource:
    return RobotCarSource(RobotCarConfig(root=root, sdk=root / "sdk", **options))  # type: ignore[arg-type]
