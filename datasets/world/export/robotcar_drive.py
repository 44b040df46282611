"""The built-in world in RobotCar's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.sources.robotcar.writer import (
    STEP_US,
    BrownLens,
    Lens,
    TraverseWriter,
    write_sdk,
)
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.sensors.camera import View, render

# The names of md4all's traverses, one by day and one at night.
DAY, NIGHT = "2014-12-09-13-21-02", "2014-12-16-18-44-24"
DRIVES = {DAY: Condition.CLEAR, NIGHT: Condition.NIGHT}
TAGS = {Condition.CLEAR: "sun", Condition.NIGHT: "night"}
START_US = 1_418_132_416_000_000
MARGIN_PX = 2


@dataclass(frozen=True)
class WorldDrive:
    """Drive of the ego vehicle through a scene of the world."""

    scene: Scene

    def T_world_ego(self, t_s: float) -> np.ndarray:
        """Pose (4, 4) of the ego in metres: x ahead, y left, z up, on the road."""
        return self.scene.ego.pose(t_s)

    def look(
        self, t_s: float, T_world_sensor: np.ndarray, lens: Lens
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and z-depth (H, W) in metres, 0 = nothing, through a lens.

        The world's renderer is a pinhole camera. For a lens with distortion, a wider pinhole image
        is sampled bilinearly (depth: at the nearest pixel), which blurs but does not shift.
        """
        if lens.pinhole is not None:
            return self._render(t_s, T_world_sensor, lens.pinhole, lens.size)
        v, u = np.mgrid[0.0 : lens.size[1], 0.0 : lens.size[0]]
        x, y, _ = lens.rays(u, v)
        intrinsics, size = _covering(x, y, lens.size[0])
        image, depth_m = self._render(t_s, T_world_sensor, intrinsics, size)
        at_u = np.asarray(x * intrinsics[0, 0] + intrinsics[0, 2], np.float32)
        at_v = np.asarray(y * intrinsics[1, 1] + intrinsics[1, 2], np.float32)
        return (
            cv2.remap(image, at_u, at_v, cv2.INTER_LINEAR),
            cv2.remap(depth_m, at_u, at_v, cv2.INTER_NEAREST),
        )

    def measure(
        self, t_s: float, T_world_sensors: Sequence[np.ndarray], lens: Lens
    ) -> list[np.ndarray]:
        """Z-depths (H, W) in metres, 0 = nothing, of sensors at one time, without rendering images.

        Raises ValueError for a lens with distortion.
        """
        if lens.pinhole is None:
            raise ValueError("found a lens with distortion; expected a pinhole")
        v, u = np.mgrid[0.0 : lens.size[1], 0.0 : lens.size[0]]
        caster, depths_m = self.scene.at(t_s).caster, []
        for T_world_sensor in T_world_sensors:
            view = View(T_world_camera=T_world_sensor, intrinsics=lens.pinhole, size=lens.size)
            z_m = caster.cast(view.eye_m, view.directions(u, v)).t
            depths_m.append(np.where(np.isfinite(z_m), z_m, 0.0).astype(np.float32))
        return depths_m

    def _render(
        self, t_s: float, T_world_sensor: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        view = View(T_world_camera=T_world_sensor, intrinsics=intrinsics, size=size)
        picture = render(self.scene, t_s, view)
        return picture.image, picture.depth_m


def export_robotcar(
    out: Path,
    *,
    seed: int,
    seconds: float = 6.0,
    num_images: int = 3,
    drives: Sequence[str] = tuple(DRIVES),
    truth_of: Sequence[int] | None = None,
) -> None:
    """Write drives of `seconds` with SDK and split files below `out`, for RobotCarSource.

    `num_images` stereo images are in the middle of each drive: triplets for "train" by day, images
    for "test" at night. The truth of the images `truth_of` (0 to `num_images` - 1; None: all) is
    written to out/truth. Raises ValueError for fewer than three images or more than the drive has.
    """
    last_step = int(seconds * 1e6) // STEP_US
    if not 3 <= num_images <= last_step + 1:
        raise ValueError(f"{num_images} images in {seconds} s; choose 3 to {last_step + 1}")
    first_step = (last_step + 1 - num_images) // 2
    steps = range(first_step, first_step + num_images)
    bent = BrownLens()
    write_sdk(out / "sdk", {name: [TAGS[DRIVES[name]]] for name in drives}, bent)
    (out / "splits").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(drives):
        scene = draw_scene(np.random.default_rng([seed, number]), seconds, DRIVES[name])
        start_us = START_US + number * 86_400_000_000
        writer = TraverseWriter(out, name, WorldDrive(scene), start_us, seconds, bent)
        shown = None if truth_of is None else [steps[k] for k in truth_of]
        writer.write(steps, truth=out / "truth", truth_of=shown)
        times_us = [writer.time_us(step) for step in steps]
        if name == DAY:
            triplets = zip(times_us, times_us[1:], times_us[2:], strict=False)
            lines = [f"{a} {b} {c}\n" for a, b, c in triplets]
            (out / f"splits/{name}_train_stride_1.txt").write_text("".join(lines))
        else:
            (out / f"splits/{name}_test.txt").write_text("".join(f"{t} 4\n" for t in times_us))


def _covering(x: np.ndarray, y: np.ndarray, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Intrinsics (3, 3) and (width, height) of a pinhole camera that sees all rays (x, y, 1)."""
    focal_px = width / float(np.ptp(x))
    cx, cy = MARGIN_PX - x.min() * focal_px, MARGIN_PX - y.min() * focal_px
    intrinsics = np.array([[focal_px, 0, cx], [0, focal_px, cy], [0, 0, 1]])
    size = tuple(int(np.ceil(np.ptp(a) * focal_px)) + 2 * MARGIN_PX + 1 for a in (x, y))
    return intrinsics, (size[0], size[1])
