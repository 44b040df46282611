"""Photometric confidence: how well it separates correct depth from depth that is 20 % wrong.

    python -m nightrain.benchmarks.confidence DATASET

DATASET holds clear frames of the built-in world with neighbours. In each frame's exact depth,
twelve patches are moved 20 % nearer or farther. The command prints the CPU time per frame and, for
ranges of true depth, the area under the ROC curve (AUC): 1 separates perfectly, 0.5 is chance.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.depthmodel.evaluation.confidence import photometric_confidence, reprojection_error
from nightrain.pipelines.labels.label_input import label_input, neighbour_views

SKY_M = 80.0
PATCHES, PATCH_SHARE = 12, 0.11  # patches per frame; share of the width and of the height
RANGES_M = ((0, 10), (10, 25), (25, 60), (0, 60))


def roc_area(score: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve: how often a right pixel outscores a wrong one (Mann-Whitney)."""
    rank, n = rankdata(score), int(right.sum())
    return float((rank[right].sum() - n * (n + 1) / 2) / (n * (len(right) - n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    options = parser.parse_args()
    manifest, rng = Manifest(options.dataset), np.random.default_rng(0)
    clear = [e for e in manifest.entries(FRAMES) if e.about.get("condition") == "clear"]
    rows = (
        row for entry in clear for row in islice(manifest.reader(entry.rows).rows(), 3, None, 9)
    )
    confidences, errors, rights, truths, seconds = [], [], [], [], []
    for row in islice(rows, options.frames):
        picture = label_input(row, None)
        views = neighbour_views(picture)
        exact_m = decode_depth_png(row["exact_depth"]["bytes"])
        depth_m = np.where(exact_m > 0, exact_m, np.float32(SKY_M))
        wrong = np.zeros(depth_m.shape, bool)
        height, width = depth_m.shape
        for _ in range(PATCHES):
            v, u = rng.integers(height // 3, height), rng.integers(0, width)
            part = np.s_[v : v + int(PATCH_SHARE * height), u : u + int(PATCH_SHARE * width)]
            depth_m[part] = np.where(exact_m > 0, exact_m, SKY_M)[part] * rng.choice([1.2, 1 / 1.2])
            wrong[part] = True
        started = time.process_time()
        made = photometric_confidence(picture.image, depth_m, picture.intrinsics, views)
        seconds.append(time.process_time() - started)
        error = reprojection_error(picture.image, depth_m, picture.intrinsics, views)
        used = (exact_m > 0) & np.isfinite(error)
        confidences.append(made[used])
        errors.append(error[used])
        rights.append(~wrong[used])
        truths.append(exact_m[used])
    confidence, error, right, truth_m = map(np.concatenate, (confidences, errors, rights, truths))
    print(f"{len(seconds)} frames, median CPU time {1000 * float(np.median(seconds)):.0f} ms each")
    print(
        f"share with confidence >= 0.5: of right pixels {(confidence[right] >= 0.5).mean():.2f}, "
        f"of wrong pixels {(confidence[~right] >= 0.5).mean():.2f}"
    )
    for near, far in RANGES_M:
        at = (truth_m >= near) & (truth_m < far)
        print(
            f"{near:2d} to {far} m: AUC {roc_area(confidence[at], right[at]):.3f}, "
            f"of the reprojection error alone {roc_area(-error[at], right[at]):.3f}"
        )


if __name__ == "__main__":
    main()
