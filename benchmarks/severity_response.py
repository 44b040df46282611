"""Severity response: what an engine's pictures show as its severity grows.

Results: docs/studies/severity.md.

    python -m nightrain.benchmarks.severity_response DATASET --recipe weather --out severity.svg

Variants of evenly spaced clear frames are generated at nine severities with one seed each, and
measured: luma, contrast, the contrast that is left far away, and fine detail. The command prints,
as Markdown, the mean over the frames at each severity and Spearman's rank correlation with
severity, its mean and least value over the frames, and draws the means.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from scipy.stats import spearmanr

from nightrain.benchmarks.picture_statistics import LUMA, noise_sigma
from nightrain.datasets.splits import Split
from nightrain.pipelines.audit.good_variants import requests_of
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.usefulness.study.svg import line_plot

SEVERITIES = tuple(round(0.1 * step, 1) for step in range(1, 10))
DEPTHS_M = (8.0, 12.0, 18.0, 27.0, 40.0, 60.0)  # edges of the bins that a veil is fitted to
WINDOW_PX = 9
FLAT = 2.0  # levels: a clear window with less contrast tells nothing


class Measures(NamedTuple):
    """Measures of a picture; those of contrast are ratios to the clear frame's."""

    luma: float  # mean, 0 to 255
    span: float  # 95th minus 5th percentile of luma
    far_contrast: float  # share of the clear frame's local contrast left beyond 27 m
    visibility_m: float  # where 5 % of the contrast is left, from its loss over depth
    fine: float  # strength of the finest detail: noise, streaks, flakes


def measure(request: Request, image: np.ndarray) -> Measures:
    """Measure a variant (H, W, 3) of a request with depth."""
    assert request.depth_m is not None
    luma, clear = (i.astype(np.float32) @ LUMA for i in (image, request.image))
    ratio = np.minimum(_contrast(luma) / np.maximum(_contrast(clear), FLAT), 1.5)
    known = _contrast(clear) > FLAT
    low, high = np.percentile(luma, (5, 95))
    far = known & (request.depth_m > 27) & (request.depth_m < 80)
    return Measures(
        luma=float(luma.mean()),
        span=float(high - low),
        far_contrast=float(np.median(ratio[far])) if far.any() else float("nan"),
        visibility_m=visibility_m(ratio, request.depth_m, known),
        fine=noise_sigma(luma),
    )


def visibility_m(ratio: np.ndarray, depth_m: np.ndarray, known: np.ndarray) -> float:
    """Visibility from the ratio (H, W) of local contrasts: ln ratio = c - 3 depth / visibility.

    At most 2,000 m; the constant takes what does not depend on distance.
    """
    depths, logs = [], []
    for near, far in itertools.pairwise(DEPTHS_M):
        inside = known & (depth_m >= near) & (depth_m < far)
        if inside.sum() > 50:
            depths.append(np.median(depth_m[inside]))
            logs.append(np.log(max(float(np.median(ratio[inside])), 1e-3)))
    if len(depths) < 3:
        return float("nan")
    slope = float(np.polyfit(depths, logs, 1)[0])
    return min(2000.0, -np.log(0.05) / max(-slope, 1e-6))


def _contrast(luma: np.ndarray) -> np.ndarray:
    """Standard deviation (H, W) of luma in windows."""
    mean = cv2.blur(luma, (WINDOW_PX, WINDOW_PX))
    return np.sqrt(np.maximum(cv2.blur(luma * luma, (WINDOW_PX, WINDOW_PX)) - mean * mean, 0))


def responses(
    dataset: Path, recipe_name: str, split: Split, num_frames: int
) -> Iterator[tuple[str, int, float, Measures]]:
    """Yield (condition, frame, severity, measures)."""
    recipe = load_recipe(recipe_name, dataset)
    engine = load_engine(recipe.engine)
    for number, one in enumerate(requests_of(dataset, recipe, split, num_frames)):
        for request in one.requests:
            for severity in SEVERITIES:
                (made,) = run_engine(engine, [replace(request, severity=severity)], 1)
                if not isinstance(made, Exception):
                    yield str(request.condition), number, severity, measure(request, made.image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="weather")
    parser.add_argument("--split", default="val", choices=get_args(Split))
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--out", type=Path, help="figure")
    options = parser.parse_args()
    found: dict[str, dict[int, dict[float, Measures]]] = defaultdict(lambda: defaultdict(dict))
    for condition, frame, severity, measures in responses(
        options.dataset, options.recipe, options.split, options.frames
    ):
        found[condition][frame][severity] = measures
    print(f"| condition | measure | {' | '.join(map(str, SEVERITIES))} | Spearman | least |")
    print("| --- | --- |" + " ---: |" * (len(SEVERITIES) + 2))
    for condition, frames in found.items():
        for name in Measures._fields:
            curves = np.array(
                [[getattr(of[s], name) for s in SEVERITIES] for of in frames.values()]
            )
            means = np.nanmean(curves, axis=0)
            ranks = [rank_correlation(curve) for curve in curves if np.isfinite(curve).all()]
            cells = [f"{value:.3g}" for value in means]
            cells += [f"{value:.2f}" for value in (np.mean(ranks), _least(ranks))]
            print(f"| {condition} | {name} | {' | '.join(cells)} |")
    if options.out is not None:
        options.out.write_text(figure(found))


def rank_correlation(curve: np.ndarray) -> float:
    """Spearman's rank correlation of values (S,) with the severities."""
    found: Any = spearmanr(SEVERITIES, curve)
    return float(found.statistic)


def _least(ranks: list[float]) -> float:
    """The rank correlation that is nearest to 0, with its sign; 0 if signs differ."""
    signs = {np.sign(rank) for rank in ranks}
    return 0.0 if len(signs) > 1 else min(ranks, key=abs)


def figure(found: dict[str, dict[int, dict[float, Measures]]]) -> str:
    """Draw each measure's mean over the frames against severity, relative to its largest mean."""
    panels = {}
    for condition, frames in found.items():
        series = {}
        for name in Measures._fields:
            curves = [[getattr(of[s], name) for s in SEVERITIES] for of in frames.values()]
            means = np.nanmean(np.array(curves), axis=0)
            series[name] = (means / np.nanmax(means)).tolist()
        panels[condition] = series
    return line_plot(SEVERITIES, panels, "severity", "share of the largest mean")


if __name__ == "__main__":
    main()
