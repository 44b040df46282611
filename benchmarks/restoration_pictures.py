"""Contact sheet of R0 and R3 on clear, night and rain frames: depth, error and uncertainty.

    python -m nightrain.benchmarks.restoration_pictures DATASET --r0 MODEL --r3 MODEL
        --out SHEET.jpg

One row per condition shows the held-out frame with the median AbsRel under R0: image, ground truth,
depth and relative error of both networks, R3 with the stereo partner, and the spread of R3's log
depth over noise seeds. docs/studies/restoration.md shows the sheet.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from nightrain.benchmarks.held_out_frames import held_out_batches, scored
from nightrain.benchmarks.restoration_uncertainty import seeded_depths
from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.evaluation.error_maps import Panel, colour_map, error_panels, error_sheet
from nightrain.depthmodel.evaluation.frames import TruthFrame
from nightrain.depthmodel.evaluation.uncertainty import log_depth_spread
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

CONDITIONS = (Condition.CLEAR, Condition.NIGHT, Condition.RAIN)
WIDTH_PX, NUM_SEEDS, FRAMES, JPEG_QUALITY = 300, 5, 64, 88


def line(r0: DepthModel, r3: DepthModel, batch: Batch, condition: Condition) -> list[Panel]:
    """Return the panels of one row: the first frame of a batch."""
    with torch.no_grad():
        r0_m = r0(batch["image"]).depth_m[0, 0].numpy()
        r3_m = r3(batch["image"], view_of(batch, "stereo")).depth_m[0, 0].numpy()
        seeds_m = seeded_depths(r3, batch["image"], NUM_SEEDS, aux=view_of(batch, "stereo"))
    spread = log_depth_spread(list(seeds_m))[0, 0].numpy()
    image = (batch["image"][0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    frame = TruthFrame(
        frame_id="",
        source_dataset="world",
        scene_id="val",
        drive_id="",
        condition=condition,
        image=image,
        truth_m=batch["exact_depth_m"][0].numpy(),
        sha256="",
    )
    shown, truth, depth, error = error_panels(frame, r0_m, width_px=WIDTH_PX)
    *_, depth_aux, error_aux = error_panels(frame, r3_m, width_px=WIDTH_PX)
    return [
        Panel(shown.picture, condition.value),
        truth,
        Panel(depth.picture, "R0"),
        Panel(error.picture, f"R0 {error.label}"),
        Panel(depth_aux.picture, "R3, stereo"),
        Panel(error_aux.picture, f"R3 {error_aux.label}"),
        _uncertainty(spread, shown.picture.shape),
    ]


def _uncertainty(spread: np.ndarray, shape: tuple[int, ...]) -> Panel:
    most = float(np.quantile(spread, 0.99))
    share, everywhere = spread / max(most, 1e-9), np.ones(spread.shape, bool)
    picture = colour_map(share, everywhere, (shape[1], shape[0]), cv2.COLORMAP_VIRIDIS)
    return Panel(picture, f"spread of R3, 0 to {most:.1e}")


@torch.no_grad()
def median_frame(r0: DepthModel, dataset: Path, condition: Condition) -> Batch:
    """Return the frame with the median AbsRel under R0, as a batch of one."""
    ranked: list[tuple[float, Batch]] = []
    for batch in held_out_batches(dataset, r0.config.input_size, condition, FRAMES, view="stereo"):
        depths_m = r0(batch["image"]).depth_m
        for index, truth_m in enumerate(batch["exact_depth_m"]):
            abs_rel = scored(depths_m[index, 0], truth_m).abs_rel
            one = {k: v[index : index + 1] for k, v in batch.items()}
            ranked.append((abs_rel, one))
    ranked.sort(key=lambda pair: pair[0])
    return ranked[len(ranked) // 2][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--r0", type=Path, required=True, help="model folder of R0")
    parser.add_argument("--r3", type=Path, required=True, help="model folder of R3 with stereo")
    parser.add_argument("--out", type=Path, required=True, help="JPEG file to write")
    options = parser.parse_args()
    r0, r3 = (DepthModel.from_pretrained(folder) for folder in (options.r0, options.r3))
    lines = [line(r0, r3, median_frame(r0, options.dataset, c), c) for c in CONDITIONS]
    Image.fromarray(error_sheet(lines)).save(options.out, quality=JPEG_QUALITY)


if __name__ == "__main__":
    main()
