"""Built-in world: image, LiDAR and self-supervision statistics by condition, next to real frames.

    python -m nightrain.benchmarks.world                          a Markdown table
    python -m nightrain.benchmarks.world --json                   the same as JSON
    python -m nightrain.benchmarks.world --real DIR --out FOLDER  with real frames, contact sheets

The same places are recorded under every condition; docs/studies/world.md discusses the results.

- error: photometric error of the next front image (1/12 s later), warped with the true depth and
  poses; "unmoved" is the error without warping. Only pixels with depth that stay inside the image
  count.
- true depth wins: share of pixels with a smaller error under the true depth than under 0.8 and
  1.25 times that depth, where both move the pixel by more than half a pixel. Chance is a third.
  Self-supervision depends on this share.
- noise: Immerkaer's estimate, which includes fine texture.
- images/s: per second of CPU time on one thread, with encoding and ground truth; "with LiDAR" adds
  one sweep for every three images.

Real frames below DIR count as night, rain or snow by a word in their folder's path, otherwise as
clear day. At most `--per-folder` of a folder are used, cropped to the world's aspect ratio and
resized to its size.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded

import argparse
import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from nightrain.benchmarks.picture_statistics import (
    Luminance,
    luminance,
    photometric_error,
    reprojected,
    warp,
)
from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import Frame
from nightrain.datasets.io.images import resize_image
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import VERSION, write_world

SIZE = (448, 256)
KEYFRAMES = 2
SHEET_SHOTS = 4  # frames of the world per contact sheet, and as many real ones
GAP_PX = 6
WRONG_DEPTHS = (0.8, 1.25)
MIN_PARALLAX_PX = 0.5


@dataclass(frozen=True)
class Row:
    """Means over the keyframes of one condition."""

    condition: str
    frames: int
    reprojection: float | None = None  # photometric error under true depth and poses
    identity: float | None = None  # photometric error of the next image without warping
    masked: float | None = None  # share of pixels with a smaller error without warping
    found: float | None = None  # share where the true depth beats 0.8 and 1.25 times of it
    lidar_points: float | None = None
    lidar_pixels: float | None = None  # share of the camera's pixels with a return
    luma: float = 0.0
    spread: float = 0.0
    noise: float = 0.0
    images_per_s: float | None = None
    images_per_s_with_lidar: float | None = None


def record(condition: Condition, num_places: int, seed: int) -> tuple[Row, list[np.ndarray]]:
    """Record places under a condition; return their statistics and images."""
    scenes = [SceneSpec(place=k, condition=condition) for k in range(num_places)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "world"
        started = time.process_time()
        report = write_world(out, scenes=scenes, frames=KEYFRAMES, seed=seed, size=SIZE)
        seconds = time.process_time() - started
        source = NuScenesSource(NuScenesConfig(root=out, version=VERSION))
        frames = [source.load(ref) for ref in source.select("all")]
        points = [p.stat().st_size / 20 for p in out.glob("samples/LIDAR_TOP/*")]
        sweep_s = _sweep_seconds(condition, seed)
    pictures = [frame.image.pixels() for frame in frames]
    errors = np.array([_errors(frame) for frame in frames]).mean(0)
    shares = [(f.lidar_depth_m > 0).mean() for f in frames if f.lidar_depth_m is not None]
    without = max(seconds - report.num_lidar_sweeps * sweep_s, 1e-3)
    row = Row(
        str(condition),
        len(frames),
        *(float(e) for e in errors),
        lidar_points=float(np.mean(points)),
        lidar_pixels=float(np.mean(shares)),
        **_means([luminance(p) for p in pictures]),
        images_per_s=report.num_images / without,
        images_per_s_with_lidar=report.num_images / seconds,
    )
    return row, pictures


def _sweep_seconds(condition: Condition, seed: int) -> float:
    from nightrain.datasets.world.scene.layout import draw_scene
    from nightrain.datasets.world.sensors.lidar import sweep

    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, 1.0, condition)
    sweep(scene, 0.0, rng)  # warm-up: builds the scene's indices
    started = time.process_time()
    for t_s in (0.1, 0.2, 0.3):
        sweep(scene, t_s, rng)
    return (time.process_time() - started) / 3


def _errors(frame: Frame) -> tuple[float, float, float, float]:
    """Return the reprojection error, the error without warping, and the two shares of pixels."""
    assert frame.next is not None and frame.exact_depth_m is not None
    this, following = frame.image.pixels(), frame.next.image.pixels()
    T = frame.next.T_neighbour_camera
    warped, held = warp(following, frame.exact_depth_m, frame.intrinsics, T)
    moved, still = photometric_error(this, warped)[held], photometric_error(this, following)[held]
    masked = float((still < moved).mean())
    return float(moved.mean()), float(still.mean()), masked, _true_depth_wins(frame)


def _true_depth_wins(frame: Frame) -> float:
    """Share of pixels where 0.8 and 1.25 times the true depth give a larger error."""
    assert frame.next is not None and frame.exact_depth_m is not None
    this, following, depth_m = frame.image.pixels(), frame.next.image.pixels(), frame.exact_depth_m
    T = frame.next.T_neighbour_camera
    warped, wins = warp(following, depth_m, frame.intrinsics, T)
    true = photometric_error(this, warped)
    at = reprojected(depth_m, frame.intrinsics, T)  # (2, H, W)
    for factor in WRONG_DEPTHS:
        warped, held = warp(following, factor * depth_m, frame.intrinsics, T)
        apart = np.hypot(*(reprojected(factor * depth_m, frame.intrinsics, T) - at))
        wins = wins & held & (apart > MIN_PARALLAX_PX)
        true = np.where(true < photometric_error(this, warped), true, np.inf)
    return float(np.isfinite(true[wins]).mean())


def real_frames(root: Path, per_folder: int) -> dict[Condition, list[np.ndarray]]:
    """Real frames by condition, at the world's size."""
    found: dict[Condition, list[np.ndarray]] = {}
    names = (p for ending in ("jpg", "jpeg", "png") for p in root.rglob(f"*.{ending}"))
    folders: dict[Path, list[Path]] = {}
    for path in sorted(p for p in names if "maps" not in p.parts):
        folders.setdefault(path.parent, []).append(path)
    for folder, paths in folders.items():
        condition = _condition_of(folder.relative_to(root))
        chosen = paths[:: max(1, -(-len(paths) // per_folder))]
        for image in map(_read_real, chosen):
            if image is not None:
                found.setdefault(condition, []).append(image)
    return found


def _condition_of(folder: Path) -> Condition:
    words = re.findall("[a-z]+", str(folder).lower())
    for condition in (Condition.NIGHT, Condition.RAIN, Condition.SNOW):
        if condition.value in words:
            return condition
    return Condition.CLEAR


def _read_real(path: Path) -> np.ndarray | None:
    """Read a real frame as (H, W, 3) RGB of the world's size; None if unreadable or too small."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or min(image.shape[:2]) < SIZE[1]:
        return None
    height, width = image.shape[:2]
    wide = min(width, round(height * SIZE[0] / SIZE[1]))
    high = min(height, round(wide * SIZE[1] / SIZE[0]))
    left, top = (width - wide) // 2, (height - high) // 2
    cropped = np.ascontiguousarray(image[top : top + high, left : left + wide, ::-1])
    return resize_image(cropped, SIZE)


def _means(measured: list[Luminance]) -> dict[str, float]:
    mean, spread, noise = np.mean([(m.mean, m.spread, m.noise) for m in measured], axis=0)
    return {"luma": float(mean), "spread": float(spread), "noise": float(noise)}


def contact_sheet(rendered: list[np.ndarray], real: list[np.ndarray]) -> np.ndarray:
    """Arrange rendered images in the left column and real ones in the right column."""
    columns = [column[:: max(1, len(column) // SHEET_SHOTS)] for column in (rendered, real)]
    columns = [column[:SHEET_SHOTS] for column in columns if column]
    width, height = SIZE[0] + GAP_PX, SIZE[1] + GAP_PX
    rows = max(len(column) for column in columns)
    sheet = np.full((rows * height, len(columns) * width, 3), 255, np.uint8)
    for j, column in enumerate(columns):
        for i, image in enumerate(column):
            sheet[i * height :, j * width :][: SIZE[1], : SIZE[0]] = image
    return sheet


def places_sheet(rendered: dict[Condition, list[np.ndarray]]) -> np.ndarray:
    """Arrange the first images of up to three places: a column per place, a row per condition."""
    columns = min(3, min(len(pictures) for pictures in rendered.values()) // KEYFRAMES)
    lines = [
        np.hstack([pictures[k * KEYFRAMES] for k in range(columns)])
        for pictures in rendered.values()
    ]
    return np.vstack(lines)


def markdown(rows: list[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| condition | frames | error: true depth | unmoved | better unmoved | true depth wins "
        "| LiDAR points | pixels with LiDAR | luma | spread | noise | images/s | with LiDAR |",
        "|---|" + "---:|" * 12,
    ]
    digits = (0, 3, 3, 2, 2, 0, 4, 0, 0, 1, 2, 2)
    for row in rows:
        values = [getattr(row, f.name) for f in fields(Row)][1:]
        cells = ["-" if v is None else f"{v:.{d}f}" for v, d in zip(values, digits, strict=True)]
        lines.append(f"| {row.condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Built-in world: statistics by condition")
    parser.add_argument("--places", type=int, default=3, help="places under each condition")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--conditions", type=Condition, nargs="+", default=list(Condition), metavar="CONDITION"
    )
    parser.add_argument("--real", type=Path, help="folder of real frames to compare with")
    parser.add_argument("--per-folder", type=int, default=6, help="maximum frames per folder")
    parser.add_argument(
        "--out", type=Path, help="folder for world.json, places.jpg and contact sheets"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    real = real_frames(arguments.real, arguments.per_folder) if arguments.real else {}
    rows, sheets, rendered = [], {}, {}
    for condition in arguments.conditions:
        row, pictures = record(condition, arguments.places, arguments.seed)
        rows.append(row)
        rendered[condition] = pictures
        sheets[condition] = contact_sheet(pictures, real.get(condition, []))
    for condition, images in real.items():
        name = f"real {'day' if condition is Condition.CLEAR else condition}"
        rows.append(Row(name, len(images), **_means([luminance(i) for i in images])))
    data = json.dumps({"size": SIZE, "rows": [asdict(row) for row in rows]}, indent=2)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "world.json").write_text(data)
        cv2.imwrite(str(arguments.out / "places.jpg"), places_sheet(rendered)[..., ::-1])
        for condition, sheet in sheets.items():
            cv2.imwrite(str(arguments.out / f"{condition}.png"), sheet[..., ::-1])
    print(data if arguments.json else markdown(rows))


if __name__ == "__main__":
    main()
