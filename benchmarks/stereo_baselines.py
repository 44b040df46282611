"""Stereo baselines: depth by matching alone, next to the network with the stereo partner (R3).

Results: docs/studies/restoration.md.

    python -m nightrain.benchmarks.stereo_baselines DATASET MODEL

For each condition of a held-out split the command prints, as Markdown, AbsRel and RMSE of

- SGBM: OpenCV's semi-global block matching (Hirschmueller, PAMI 2008) on images enlarged fourfold;
- the network's own match of the stereo pair as it is, where its validity is at least a half;
- R3 on the pixels where SGBM found a match, and on all pixels;
- R3 without its view, on all pixels.

MODEL is a network with a stereo view.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from nightrain.benchmarks.held_out_frames import SPLITS, held_out_batches
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.enhancer import AuxView
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.evaluation.metrics import score_image
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

ENLARGED = 4  # finds fractions of a pixel, and small shifts far away
NEAREST_M = 3.0
BLOCK_PX, UNIQUE_PERCENT, SPECKLE_PX, SPECKLE_RANGE = 5, 10, 200, 2
MIN_VALIDITY = 0.5
MAX_DEPTH_M = 80.0


def sgbm_depth_m(
    image: np.ndarray, partner: np.ndarray, focal_baseline_px_m: float, *, partner_to_left: bool
) -> np.ndarray:
    """Depth (H, W) in metres of a rectified pair (H, W, 3) uint8 RGB; 0 where nothing matches."""
    height, width = image.shape[:2]
    if partner_to_left:  # a mirrored partner to the right
        mirrored = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(partner[:, ::-1])
        return sgbm_depth_m(*mirrored, focal_baseline_px_m, partner_to_left=False)[:, ::-1]
    most_px = 16 * int(np.ceil(ENLARGED * focal_baseline_px_m / NEAREST_M / 16))
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=most_px,
        blockSize=BLOCK_PX,
        P1=8 * BLOCK_PX**2,
        P2=32 * BLOCK_PX**2,
        disp12MaxDiff=ENLARGED,
        uniquenessRatio=UNIQUE_PERCENT,
        speckleWindowSize=SPECKLE_PX,
        speckleRange=SPECKLE_RANGE,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    size = (ENLARGED * width, ENLARGED * height)
    # Columns on the left have no partner within the search range; without padding they are lost.
    grey = [_enlarged(one, size, left_px=most_px) for one in (image, partner)]
    disparity_px = matcher.compute(*grey)[:, most_px:].astype(np.float32) / 16 / ENLARGED
    disparity_px = disparity_px[ENLARGED // 2 :: ENLARGED, ENLARGED // 2 :: ENLARGED]
    found = disparity_px > focal_baseline_px_m / MAX_DEPTH_M
    return np.where(found, focal_baseline_px_m / np.where(found, disparity_px, 1), 0.0)


def _enlarged(image: np.ndarray, size: tuple[int, int], *, left_px: int) -> np.ndarray:
    """Grey image (h, left_px + w) of `size` (w, h), its left column repeated."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    large = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, 0, 0, left_px, 0, cv2.BORDER_REPLICATE)


@torch.no_grad()
def matched_depth_m(model: DepthModel, batch: Batch) -> torch.Tensor:
    """Depth (B, H, W) in metres of the network's match of a stereo pair; 0 where it is doubtful."""
    aux, image = view_of(batch, "stereo"), batch["image"]
    if aux is None or model.auxview is None:
        raise InvalidRequest("found a model or batches without a stereo view; both are needed")
    size = image.shape[2], image.shape[3]
    maps, others = model.encode(image), model.encode(aux.image)
    view = AuxView(
        features=(others[0], others[1]),
        present=aux.present,
        K=aux.K,
        K_aux=aux.K_aux,
        T_aux_camera=aux.T_aux_camera,
        images=(image if aux.reference is None else aux.reference, aux.image),
    )
    match = model.auxview.align((maps[0], maps[1]), view, size)
    assert match.inverse_depth is not None  # of a rectified pair
    sure = (match.validity >= MIN_VALIDITY) & (match.inverse_depth >= 1 / MAX_DEPTH_M)
    depth_m = torch.where(sure, 1 / match.inverse_depth.clamp_min(1 / MAX_DEPTH_M), 0.0)
    return F.interpolate(depth_m, size, mode="nearest")[:, 0]


def rows(
    model: DepthModel, batches: Iterator[Batch]
) -> dict[str, list[tuple[float, float, float]]]:
    """AbsRel, RMSE in metres and share of scored pixels of each image, by the name of the row."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for batch in batches:
        with torch.no_grad():
            with_view = model(batch["image"], view_of(batch, "stereo")).depth_m[:, 0]
            alone = model(batch["image"]).depth_m[:, 0]
        matched = matched_depth_m(model, batch)
        for i, truth_m in enumerate(batch["exact_depth_m"]):
            T, K = batch["T_stereo_camera"][i], batch["stereo_intrinsics"][i]
            image, partner = (_picture(batch[name][i]) for name in ("clear_image", "stereo"))
            focal_baseline_px_m, to_left = float(K[0, 0] * T[0, 3].abs()), bool(T[0, 3] > 0)
            sgbm_m = torch.from_numpy(
                sgbm_depth_m(image, partner, focal_baseline_px_m, partner_to_left=to_left).copy()
            )
            for name, depth_m, where in (
                ("SGBM, where it matches", sgbm_m, sgbm_m > 0),
                ("the network's match as it is", matched[i], matched[i] > 0),
                ("R3, where SGBM matches", with_view[i], sgbm_m > 0),
                ("R3, all pixels", with_view[i], truth_m > 0),
                ("R3 without its view, all pixels", alone[i], truth_m > 0),
            ):
                there = where & (truth_m > 0)
                metrics = score_image(depth_m.numpy(), (truth_m * there).numpy())
                if metrics is not None:  # else nothing matches in this image
                    share = float(there.sum() / (truth_m > 0).sum())
                    found[name].append((metrics.abs_rel, metrics.rmse, share))
    return found


def _picture(image: torch.Tensor) -> np.ndarray:
    picture = image.permute(1, 2, 0).numpy() * 255
    return np.ascontiguousarray(picture.round().astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path, help="model folder of R3")
    parser.add_argument("--conditions", default="clear,night,rain", help="conditions to test")
    parser.add_argument("--frames", type=int, default=64, help="maximum frames per condition")
    parser.add_argument("--split", choices=SPLITS, default="test", help="frames that are scored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = DepthModel.from_pretrained(options.model)
    print("| condition | depth | images | AbsRel | RMSE m | share of pixels |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for condition in options.conditions.split(","):
        batches = held_out_batches(
            options.dataset,
            model.config.input_size,
            Condition(condition),
            options.frames,
            split=options.split,
            view="stereo",
        )
        for name, of_images in rows(model, batches).items():
            abs_rel, rmse, share = np.mean(of_images, axis=0)
            cells = [condition, name, str(len(of_images)), f"{abs_rel:.3f}", f"{rmse:.2f}"]
            print(f"| {' | '.join(cells)} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
