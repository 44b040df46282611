"""Error maps: input, ground truth, prediction and relative error of frames as one image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nightrain.datasets.geometry.crops import Crop
from nightrain.depthmodel.evaluation.frames import TruthFrame
from nightrain.depthmodel.evaluation.metrics import score_image, scored_pixels
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import BUCKETS

NEAR_M, FAR_M = 2.0, 80.0
MAX_COLOURED_ERROR = 0.5  # relative error of the brightest colour
NO_TRUTH_COLOUR = (48, 48, 54)
BACKGROUND, INK = (24, 24, 28), (230, 230, 230)
LABEL_PX, GAP_PX, FONT_PX = 20, 4, 12


@dataclass(frozen=True, slots=True)
class Panel:
    """One image (H, W, 3) uint8 sRGB with its label."""

    picture: np.ndarray
    label: str


def error_panels(
    frame: TruthFrame,
    prediction_m: np.ndarray,
    *,
    min_depth_m: float = 0.1,
    max_depth_m: float = 80.0,
    crop: Crop | None = None,
    width_px: int = 360,
) -> list[Panel]:
    """Four panels for a frame and its predicted depth (H, W) in metres, of the truth's size.

    Nearer depth is brighter, on a log scale from 2 to 80 m. Relative error is |p - g| / g of the
    clamped prediction, black for 0 and brightest from 0.5. Points of sparse truth are enlarged;
    pixels that are not scored are grey.
    """
    truth_m = np.zeros(prediction_m.shape, np.float32) if frame.truth_m is None else frame.truth_m
    valid = scored_pixels(truth_m, min_depth_m, max_depth_m, crop)
    clamped = np.clip(prediction_m, min_depth_m, max_depth_m)
    error = np.abs(clamped - truth_m) / np.where(valid, truth_m, 1.0)
    score = score_image(
        prediction_m, truth_m, min_depth_m=min_depth_m, max_depth_m=max_depth_m, crop=crop
    )
    words = "no valid truth" if score is None else f"abs_rel {score.abs_rel:.3f}, d1 {score.d1:.3f}"
    size = (width_px, round(width_px * truth_m.shape[0] / truth_m.shape[1]))
    everywhere = np.ones(clamped.shape, bool)
    return [
        Panel(
            cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA),
            f"{frame.condition}, {frame.scene_id}, {frame.frame_id[:8]}",
        ),
        Panel(_colour_map(_nearness(truth_m), valid, size), f"truth, {NEAR_M:g} to {FAR_M:g} m"),
        Panel(_colour_map(_nearness(clamped), everywhere, size), "prediction"),
        Panel(
            _colour_map(error / MAX_COLOURED_ERROR, valid, size, cv2.COLORMAP_HOT),
            f"error, 0 to {MAX_COLOURED_ERROR:g}: {words}",
        ),
    ]


def error_sheet(rows: Sequence[Sequence[Panel]]) -> np.ndarray:
    """Arrange the panels of several frames on one sheet (H, W, 3) uint8, one row per frame."""
    height = max(p.picture.shape[0] for row in rows for p in row) + LABEL_PX + GAP_PX
    width = max(p.picture.shape[1] for row in rows for p in row) + GAP_PX
    num_columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (num_columns * width + GAP_PX, len(rows) * height), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for index, row in enumerate(rows):
        for column, panel in enumerate(row):
            x, y = GAP_PX + column * width, index * height
            draw.text((x + 2, y + 3), panel.label, fill=INK, font=font)
            sheet.paste(Image.fromarray(panel.picture), (x, y + LABEL_PX))
    return np.asarray(sheet)


def representative_frames(evaluation: Evaluation, num_per_bucket: int = 2) -> list[str]:
    """Ids of frames to inspect: per condition, from the median to the worst frame by abs_rel.

    Evenly spaced by rank, under the first cap and scaling.
    """
    settings, chosen = evaluation.settings, []
    main = [
        i
        for i in evaluation.images
        if i.cap_m == settings.caps_m[0] and i.scaling == settings.scalings[0]
    ]
    for bucket in (b for b in BUCKETS if len(b.conditions) == 1):
        ranked = sorted(
            (i for i in main if i.condition in bucket.conditions),
            key=lambda i: (i.metrics.abs_rel, i.frame_id),
        )
        if ranked:
            ranks = np.linspace((len(ranked) - 1) // 2, len(ranked) - 1, num_per_bucket)
            chosen += [ranked[rank].frame_id for rank in sorted({int(r) for r in ranks})]
    return chosen


def _nearness(depth_m: np.ndarray) -> np.ndarray:
    """1 at 2 m and nearer, 0 at 80 m and farther, by the logarithm of the depth."""
    return 1.0 - np.log(np.maximum(depth_m, NEAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)


def _colour_map(
    share: np.ndarray,
    valid: np.ndarray,
    size: tuple[int, int],
    colours: int = cv2.COLORMAP_INFERNO,
) -> np.ndarray:
    """Colour values (H, W) in [0, 1] at `size` = (width, height); sparse points become dots.

    A dot shows the largest value near it: the nearest depth or the largest error.
    """
    levels = np.where(valid, 1.0 + 254.0 * np.clip(share, 0.0, 1.0), 0.0)  # 0: no value
    shrinking = max(1, levels.shape[1] // size[0])
    if valid.mean() < 0.5:
        dot = np.ones((3 * shrinking, 3 * shrinking), np.uint8)
        levels = cv2.dilate(levels, dot)
    small = cv2.resize(levels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = cv2.cvtColor(cv2.applyColorMap(small, colours), cv2.COLOR_BGR2RGB)
    picture[small == 0] = NO_TRUTH_COLOUR
    return picture
