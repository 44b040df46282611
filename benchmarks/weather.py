"""Weather engine: variants per second on one core, from JPEG and depth PNG to JPEG.

    python -m nightrain.benchmarks.weather            a Markdown table
    python -m nightrain.benchmarks.weather --json     the same as JSON

The input is a procedural street of 768x448 pixels. The rate of a condition is the reciprocal of
the median time of one variant, decoding and encoding included, over the severities 0.2, 0.5 and
0.8; the last row is the rate of a run with equal numbers of all conditions.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import argparse
import json
import statistics
import time

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import (
    decode_depth_png,
    decode_jpeg,
    encode_depth_png,
    encode_jpeg,
)
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.engines.weather.settings import WeatherSettings

SIZE = (768, 448)  # width, height
INTRINSICS = np.array([[608.0, 0, 383.5], [0, 608.0, 223.5], [0, 0, 1.0]])
CAMERA_HEIGHT_M = 1.5
SEVERITIES = (0.2, 0.5, 0.8)


def street() -> tuple[bytes, bytes]:
    """Draw a street between houses under a blue sky; return its JPEG and depth PNG (0 = sky)."""
    width, height = SIZE
    x = (np.arange(width)[None] - INTRINSICS[0, 2]) / INTRINSICS[0, 0]
    y = (np.arange(height)[:, None] - INTRINSICS[1, 2]) / INTRINSICS[1, 1]
    ground = np.where(y > 0, CAMERA_HEIGHT_M / np.maximum(y, 1e-6), np.inf)
    houses = 9.0 / np.maximum(np.abs(x), 1e-6) + 0 * y
    houses = np.where((houses < 120) & (houses * -y < 8.0), houses, np.inf)
    depth = np.minimum(np.minimum(ground, houses), np.inf)
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 9, (height, width, 3))
    sky, grey, brick = (
        np.array(c, float) for c in ((150, 180, 215), (110, 108, 105), (120, 80, 65))
    )
    colour = np.where((houses < ground)[..., None], brick, grey)
    windows = (np.floor(np.minimum(houses, 1e3) / 1.5) % 2 == 0) & (houses < ground)
    colour = np.where(windows[..., None], 0.5 * colour, colour)
    image = np.where(np.isinf(depth)[..., None], sky, colour + noise)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return encode_jpeg(pixels), encode_depth_png(depth.astype(np.float32))


def make_one(
    jpeg: bytes, depth_png: bytes, condition: Condition, severity: float, seed: int
) -> bytes:
    depth_m = decode_depth_png(depth_png)
    depth_m[depth_m == 0] = np.inf
    request = Request(
        sample_id=f"street-{seed}",
        image=decode_jpeg(jpeg),
        depth_m=depth_m,
        intrinsics=INTRINSICS,
        condition=condition,
        severity=severity,
        seed=seed,
    )
    return encode_jpeg(WeatherEngine().generate([request])[0].image)


def seconds_per_variant(condition: Condition, repeats: int) -> float:
    jpeg, depth_png = street()
    for seed in range(3):
        make_one(jpeg, depth_png, condition, 0.5, seed)
    times = []
    for seed in range(repeats):
        start = time.perf_counter()
        make_one(jpeg, depth_png, condition, SEVERITIES[seed % len(SEVERITIES)], seed)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Weather engine: variants per second on one core")
    parser.add_argument("--repeats", type=int, default=30, help="timed variants per condition")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    conditions = WeatherSettings.conditions
    seconds = {str(c): seconds_per_variant(c, arguments.repeats) for c in conditions}
    seconds["all, in equal numbers"] = statistics.fmean(seconds.values())
    if arguments.json:
        rates = {name: round(1 / s, 2) for name, s in seconds.items()}
        print(json.dumps({"size": SIZE, "repeats": arguments.repeats, "per_second": rates}))
        return
    print("| condition | ms per variant | variants/s per core |\n|---|---:|---:|")
    for name, s in seconds.items():
        print(f"| {name} | {1000 * s:.1f} | {1 / s:.1f} |")


if __name__ == "__main__":
    main()
