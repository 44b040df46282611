"""Depth completion: the network against the classical completion and the nearest return.

    python -m nightrain.benchmarks.completion world DATASET      held-out places, exact depth
    python -m nightrain.benchmarks.completion real FOLDER        hidden returns of real frames

`world` scores clear val frames of a rendered world's dataset: all pixels up to 80 m, those above
the highest return of their column, and those below it. The standard error is that of the places'
means. `real` hides a fifth of the returns of nuScenes and KITTI frames (FOLDER/nuscenes and
FOLDER/kitti), at random or by whole rings, completes the others and scores the hidden ones.
"visible" returns are those with no return in front of them next to it: the others are from behind
objects, since a LiDAR sees past them.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time

import cv2
import numpy as np

from nightrain.datasets.frame import Frame
from nightrain.datasets.geometry.completion import complete_depth
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.depthmodel.completion.complete import WEIGHTS, DepthCompleter, load_completer
from nightrain.depthmodel.completion.inputs import nearest_return
from nightrain.depthmodel.completion.simulated_lidar import (
    KITTI,
    NUSCENES,
    LidarSettings,
    rings_of,
    simulated_returns,
)
from nightrain.depthmodel.completion.training_set import clear_rows

NEAREST_M, FARTHEST_M = 0.1, 80.0
HIDDEN_SHARE = 0.2
OCCLUDED_RATIO, OCCLUDED_PX = 1.2, 9  # hidden returns behind nearer ones around them
Completer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # image and sparse depth to depth
Scores = dict[tuple[str, str], list[tuple[str, float, float]]]  # (row, method): place, AbsRel, MSE


def completers(network: DepthCompleter) -> dict[str, Completer]:
    """The methods that are compared, each from image and sparse depth to dense depth."""
    return {
        "nearest return": lambda image, sparse_m: sparse_m[nearest_return(sparse_m > 0)[1]],
        "classical": lambda image, sparse_m: complete_depth(sparse_m, image),
        "network": lambda image, sparse_m: network.complete(image, sparse_m).depth_m,
    }


def add_score(
    scores: Scores, row: str, method: str, place: str, errors: tuple[float, float] | None
) -> None:
    if errors is not None:
        scores[row, method].append((place, *errors))


def errors_of(
    depth_m: np.ndarray, truth_m: np.ndarray, used: np.ndarray
) -> tuple[float, float] | None:
    """AbsRel and mean squared error in m^2 over pixels; None without any."""
    if not used.any():
        return None
    d, t = np.clip(depth_m[used], NEAREST_M, FARTHEST_M), truth_m[used]
    return float(np.mean(np.abs(d - t) / t)), float(np.mean((d - t) ** 2))


def world_scores(rows: Sequence[Row], methods: dict[str, Completer], scores: Scores) -> None:
    for row in rows:
        frame = frame_from_row(row)
        exact_m, recorded_m = frame.exact_depth_m, frame.lidar_depth_m
        assert exact_m is not None
        assert recorded_m is not None
        scored = (exact_m >= NEAREST_M) & (exact_m <= FARTHEST_M)
        simulated_m = simulated_returns(exact_m, frame.intrinsics, KITTI)
        for name, sparse_m in (("32 rings", recorded_m), ("64 rings", simulated_m)):
            top = np.where((sparse_m > 0).any(0), np.argmax(sparse_m > 0, axis=0), len(sparse_m))
            above = np.arange(len(sparse_m))[:, None] < top
            parts = {"all": scored, "above the rings": scored & above, "between": scored & ~above}
            for method, complete in methods.items():
                depth_m = complete(frame.image.pixels(), sparse_m)
                for part, used in parts.items():
                    errors = errors_of(depth_m, exact_m, used)
                    add_score(scores, f"{name}, {part}", method, frame.scene_id, errors)


def real_frames(folder: Path) -> Iterator[tuple[str, Frame, LidarSettings]]:
    """Frames of nuScenes and KITTI that have LiDAR, with the name and the LiDAR of their source."""
    nuscenes = NuScenesConfig(root=folder / "nuscenes", version="v1.0-mini")
    for name, config, lidar in (
        ("nuScenes", nuscenes, NUSCENES),
        ("KITTI", KittiConfig(root=folder / "kitti"), KITTI),
    ):
        source = config.open()
        for ref in source.select("all"):
            frame = source.load(ref)
            if frame.lidar_depth_m is not None:
                yield name, frame, lidar


def hidden_returns(frame: Frame, lidar: LidarSettings, how: str, seed: int) -> np.ndarray:
    """Mask (H, W) bool of a fifth of the returns: at random, or of every fifth ring."""
    sparse_m = frame.lidar_depth_m
    assert sparse_m is not None
    v, u = np.nonzero(sparse_m > 0)
    chosen = np.random.default_rng(seed).random(len(v)) < HIDDEN_SHARE
    if how == "rings":
        chosen = rings_of(sparse_m, frame.intrinsics, lidar) % 5 == 2
    hidden = np.zeros(sparse_m.shape, bool)
    hidden[v[chosen], u[chosen]] = True
    return hidden


def seen_by_camera(sparse_m: np.ndarray) -> np.ndarray:
    """Mask (H, W) bool of the returns that no nearer return around them occludes."""
    far = np.float32(1e6)
    around = OCCLUDED_PX * max(1, sparse_m.shape[1] // 400) | 1
    nearest = cv2.erode(np.where(sparse_m > 0, sparse_m, far), np.ones((around, around), np.uint8))
    return (sparse_m > 0) & (sparse_m < OCCLUDED_RATIO * nearest)


def real_scores(folder: Path, methods: dict[str, Completer], scores: Scores) -> None:
    for number, (name, frame, lidar) in enumerate(real_frames(folder)):
        sparse_m = frame.lidar_depth_m
        assert sparse_m is not None
        truth, image = np.where(sparse_m <= FARTHEST_M, sparse_m, 0), frame.image.pixels()
        visible = seen_by_camera(sparse_m)
        for how in ("random", "rings"):
            hidden = hidden_returns(frame, lidar, how, number)
            parts = {"all": hidden & (truth > 0), "visible": hidden & visible & (truth > 0)}
            for method, complete in methods.items():
                depth_m = complete(image, np.where(hidden, np.float32(0), sparse_m))
                for part, used in parts.items():
                    place = f"{frame.camera}-{frame.timestamp_us}"
                    errors = errors_of(depth_m, sparse_m, used)
                    add_score(scores, f"{name}, hidden {how}, {part}", method, place, errors)


def table(scores: Scores) -> str:
    """Markdown table: AbsRel with its standard error, and RMSE, of each row and method."""
    lines = ["| row | method | AbsRel | RMSE m | against classical |", "|---|---|---:|---:|---:|"]
    for (row, method), found in scores.items():
        absrel, error, mse = _by_place(found)
        classical = _by_place(scores[row, "classical"])[0]
        change = f"{100 * (absrel / classical - 1):+.1f} %"
        lines.append(
            f"| {row} | {method} | {absrel:.4f} ± {error:.4f} | {mse**0.5:.2f} | {change} |"
        )
    return "\n".join(lines)


def _by_place(found: Sequence[tuple[str, float, float]]) -> tuple[float, float, float]:
    """Mean AbsRel over places, its standard error, and the mean squared error."""
    places = defaultdict(list)
    for place, absrel, mse in found:
        places[place].append((absrel, mse))
    means = np.array([np.mean(values, axis=0) for values in places.values()])
    error = means[:, 0].std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("nan")
    return float(means[:, 0].mean()), float(error), float(means[:, 1].mean())


def reliability(rows: Sequence[Row], network: DepthCompleter) -> str:
    """Markdown table: in bins of confidence, its mean and the share of errors below 10 %."""
    stated, right = list[np.ndarray](), list[np.ndarray]()
    for row in rows:
        frame = frame_from_row(row)
        exact_m, sparse_m = frame.exact_depth_m, frame.lidar_depth_m
        assert exact_m is not None
        assert sparse_m is not None
        found = network.complete(frame.image.pixels(), sparse_m)
        known = exact_m > 0
        stated.append(found.confidence[known])
        right.append((np.abs(found.depth_m - exact_m) < 0.1 * exact_m)[known])
    confidence, is_right = np.concatenate(stated), np.concatenate(right)
    lines = ["| confidence | pixels | mean | errors below 10 % |", "|---|---:|---:|---:|"]
    for low, high in pairwise((0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.01)):
        part = (confidence >= low) & (confidence < high)
        if part.any():
            figures = (part.mean(), confidence[part].mean(), is_right[part].mean())
            shown = " | ".join(f"{value:.2f}" for value in figures)
            lines.append(f"| {low:.2f} to {min(high, 1):.2f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Depth completion against its baselines")
    parser.add_argument("what", choices=["world", "real"])
    parser.add_argument("folder", type=Path, help="dataset of a rendered world; real recordings")
    parser.add_argument("--split", default="val", help="split of the world's places")
    parser.add_argument("--every", type=int, default=1, help="score every n-th frame of the world")
    parser.add_argument("--weights", default=WEIGHTS, help="package weights, or their folder")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    network, scores = load_completer(options.weights), defaultdict(list)
    methods = completers(network)
    methods["network"] = timed(methods["network"], seconds := list[float]())
    if options.what == "world":
        rows = clear_rows(options.folder, options.split)[:: options.every]
        world_scores(rows, methods, scores)
        print(reliability(rows, network), end="\n\n")
    else:
        real_scores(options.folder, methods, scores)
    print(table(scores))
    print(f"\nnetwork: {median(seconds):.3f} s of CPU time per frame, with all its threads")


def timed(complete: Completer, seconds: list[float]) -> Completer:
    """The same completer, which appends the CPU time of each call."""

    def call(image: np.ndarray, sparse_m: np.ndarray) -> np.ndarray:
        started = process_time()
        found = complete(image, sparse_m)
        seconds.append(process_time() - started)
        return found

    return call


if __name__ == "__main__":
    main()
