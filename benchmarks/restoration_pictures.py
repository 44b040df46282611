"""Sheet of error maps: held-out frames of several conditions, a column for each network.

    python -m nightrain.benchmarks.restoration_pictures DATASET --models NAME=FOLDER NAME=FOLDER
        --out SHEET.jpg

Each row shows, for one condition, the held-out frame with the median AbsRel under the first
network: the image, and the relative error of each network. A network with a stereo view gets the
stereo partner. docs/studies/restoration.md shows the sheet.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nightrain.benchmarks.held_out_frames import SPLITS, HeldOut, held_out_batches, scored
from nightrain.benchmarks.restoration_arms import WEATHER
from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.evaluation.error_maps import Panel, error_panels, error_sheet
from nightrain.depthmodel.evaluation.frames import TruthFrame
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

WIDTH_PX, FRAMES, JPEG_QUALITY = 300, 64, 88
Models = dict[str, DepthModel]  # by the name in the sheet


@torch.no_grad()
def depth_of(model: DepthModel, batch: Batch) -> np.ndarray:
    """Depth (B, H, W) in metres, with the stereo partner where the network has that view."""
    view = model.config.auxview and view_of(batch, "stereo")
    return model(batch["image"], view).depth_m[:, 0].numpy()


def line(models: Models, batch: Batch, condition: Condition) -> list[Panel]:
    """Return the panels of one row: the first frame of a batch."""
    frame = TruthFrame(
        frame_id="",
        source_dataset="world",
        scene_id="",
        drive_id="",
        condition=condition,
        image=(batch["image"][0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8),
        truth_m=batch["exact_depth_m"][0].numpy(),
        sha256="",
    )
    found = list[Panel]()
    for name, model in models.items():
        depth_m = depth_of(model, batch)[0]
        shown, _, _, error = error_panels(frame, depth_m, width_px=WIDTH_PX)
        score = scored(torch.from_numpy(depth_m), batch["exact_depth_m"][0])
        found = found or [Panel(shown.picture, condition.value)]
        found.append(Panel(error.picture, f"{name}: AbsRel {score.abs_rel:.3f}"))
    return found


def median_frame(models: Models, dataset: Path, split: HeldOut, condition: Condition) -> Batch:
    """Return the frame with the median AbsRel under the first network, as a batch of one."""
    first = next(iter(models.values()))
    view = "stereo" if any(model.config.auxview for model in models.values()) else None
    ranked: list[tuple[float, Batch]] = []
    size = first.config.input_size
    for batch in held_out_batches(dataset, size, condition, FRAMES, split=split, view=view):
        depths_m = depth_of(first, batch)
        for index, truth_m in enumerate(batch["exact_depth_m"]):
            abs_rel = scored(torch.from_numpy(depths_m[index]), truth_m).abs_rel
            ranked.append((abs_rel, {k: v[index : index + 1] for k, v in batch.items()}))
    ranked.sort(key=lambda pair: pair[0])
    return ranked[len(ranked) // 2][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", nargs="+", required=True, help="NAME=FOLDER of each column")
    parser.add_argument("--conditions", default="night,rain,night-rain", help="one row for each")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--out", type=Path, required=True, help="JPEG file to write")
    options = parser.parse_args()
    named = [value.partition("=") for value in options.models]
    if wrong := [name for name, equals, folder in named if not (name and equals and folder)]:
        parser.error(f"--models: found {wrong[0]!r}, expected NAME=FOLDER")
    models = {name: DepthModel.from_pretrained(folder) for name, _, folder in named}
    lines = []
    for condition in options.conditions.split(","):
        if condition not in WEATHER:
            parser.error(f"--conditions: {condition!r} is not one of {', '.join(WEATHER)}")
        batch = median_frame(models, options.dataset, options.split, Condition(condition))
        lines.append(line(models, batch, Condition(condition)))
    Image.fromarray(error_sheet(lines)).save(options.out, quality=JPEG_QUALITY)


if __name__ == "__main__":
    main()
