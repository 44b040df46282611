"""Shadows left: how much of the sun's shadows on the road a variant still shows.

Results: docs/studies/realism.md.

    python -m nightrain.benchmarks.shadows_left DATASET --world WORLD --recipe weather --frames 200

Under clouds and at night the sun throws no shadows. On the road of a clear frame of the built-in
world, shadow and sunlight are two modes of luminance. The contrast of the two areas is measured in
the clear frame, in its variants and in its recorded twins, row by row, as a difference of log
luminance. A twin's is not quite zero, since the two areas differ in asphalt and in lamps near by;
so what a variant has above its twin is left of the shadow.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.loader.twins import Recorded, recorded_frames
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.world.export.truth import image_file, truth_file
from nightrain.pipelines.engines.weather.optics.photometry import luminance, srgb_to_linear

ROAD = 0  # Cityscapes' train id
LEAST_SHARE = 0.05  # of the road, that is in shadow, and that is in the sun
LEAST_CONTRAST = 0.5  # difference of log luminance of sun and shadow
LEAST_IN_ROW = 8  # pixels of each kind in a row that is compared
DARKEST = 1e-3  # linear luminance of a pixel that counts as black


class Areas(NamedTuple):
    """Parts of the road (H, W) bool of a clear frame."""

    sun: np.ndarray
    shadow: np.ndarray


def sun_and_shadow(image: np.ndarray, road: np.ndarray) -> Areas | None:
    """Split the road (H, W) bool of a clear frame (H, W, 3); None where it is not in two parts.

    By Otsu's threshold of the log luminance, without the pixels between the two modes.
    """
    if not road.any():
        return None
    light = cv2.medianBlur(_log_luminance(image), 5)
    low, high = np.percentile(light[road], (1, 99))
    levels = np.clip(255 * (light - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[road], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    is_bright = levels[road] > threshold
    at = (light[road][is_bright].mean() + light[road][~is_bright].mean()) / 2  # between the modes
    sun = road & (light > at + LEAST_CONTRAST / 4)
    shadow = road & (light < at - LEAST_CONTRAST / 4)
    shares = sun.sum() / road.sum(), shadow.sum() / road.sum()
    if min(shares) < LEAST_SHARE:
        return None
    areas = Areas(sun, shadow)
    contrast = contrast_of(image, areas)
    return areas if contrast is not None and contrast >= LEAST_CONTRAST else None


def contrast_of(image: np.ndarray, areas: Areas) -> float | None:
    """Mean difference of log luminance of sun and shadow over the rows that have both.

    None where no row has enough of both. The median of a row's pixels leaves paint out.
    """
    light, differences, weights = _log_luminance(image), [], []
    for values, sun, shadow in zip(light, *areas, strict=True):
        count = min(int(sun.sum()), int(shadow.sum()))
        if count >= LEAST_IN_ROW:
            differences.append(float(np.median(values[sun]) - np.median(values[shadow])))
            weights.append(count)
    return float(np.average(differences, weights=weights)) if weights else None


def _log_luminance(image: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(luminance(srgb_to_linear(image)), DARKEST)).astype(np.float32)


class Contrasts(NamedTuple):
    """Contrast of sun and shadow in a clear frame, its variant and its recorded twin."""

    clear: float
    variant: float
    twin: float


def contrasts(
    dataset: Path, world: Path, recipe: str, num_frames: int
) -> Iterator[tuple[Condition, Contrasts]]:
    """Yield the contrasts of evenly spaced clear frames that have twins and shadows.

    Raises InvalidRequest for an unknown recipe, and a world without the frames' classes.
    """
    manifest, recorded = Manifest(dataset), recorded_frames(dataset, "train")
    twins = {(one.geometry, one.condition): one for one in recorded}
    variants = {
        Condition(condition_of(table)): _places(manifest, table)
        for table in select_tables(manifest, recipe)
    }
    clear = [
        one
        for one in recorded
        if one.condition == Condition.CLEAR and (one.geometry, Condition.NIGHT) in twins
    ]
    for one in clear[:: max(1, len(clear) // num_frames)][:num_frames]:
        image = _image(manifest, one)
        areas = sun_and_shadow(image, _road(world, one, manifest, image.shape))
        before = None if areas is None else contrast_of(image, areas)
        for condition, places in variants.items():
            twin, place = twins.get((one.geometry, condition)), places.get(one.frame_id)
            if areas is None or before is None or twin is None or place is None:
                continue
            row = manifest.reader(place[0]).row(place[1], ("image",))
            variant = _of_size(decode_jpeg(row["image"]["bytes"]), image.shape)
            after = contrast_of(variant, areas)
            recorded_now = contrast_of(_of_size(_image(manifest, twin), image.shape), areas)
            if after is not None and recorded_now is not None:
                yield condition, Contrasts(before, after, recorded_now)


def _places(manifest: Manifest, table: str) -> dict[str, tuple]:
    found = {}
    for entry in manifest.entries(table):
        ids = manifest.reader(entry.rows).table(["frame_id"]).column(0).to_pylist()
        found |= {frame_id: (entry.rows, row) for row, frame_id in enumerate(ids)}
    return found


def _image(manifest: Manifest, one: Recorded) -> np.ndarray:
    row = manifest.reader(one.entry.rows).row(one.row, ("image",))
    return decode_jpeg(row["image"]["bytes"])


def _of_size(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_AREA)


def _road(world: Path, one: Recorded, manifest: Manifest, shape: tuple[int, ...]) -> np.ndarray:
    row = manifest.reader(one.entry.rows).row(one.row, ("scene_id", "camera", "timestamp_us"))
    path = world / truth_file(
        "semantic", image_file(row["scene_id"], row["camera"], row["timestamp_us"])
    )
    classes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if classes is None:
        raise InvalidRequest(f"{path} is not there; give the rendered folder of the dataset.")
    return cv2.resize(classes, shape[1::-1], interpolation=cv2.INTER_NEAREST) == ROAD


def left(found: list[Contrasts]) -> tuple[float, float]:
    """Share of the clear frames' contrast that variants, and twins, still show: medians."""
    shares = np.array([(c.variant / c.clear, c.twin / c.clear) for c in found])
    return float(np.median(shares[:, 0])), float(np.median(shares[:, 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--world", type=Path, required=True, help="rendered folder")
    parser.add_argument("--recipe", default="weather")
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args()
    of: dict[Condition, list[Contrasts]] = defaultdict(list)
    for condition, found in contrasts(
        options.dataset, options.world, options.recipe, options.frames
    ):
        of[condition].append(found)
    print("| condition | frames with shadows | left in variants | in recorded twins |")
    print("| --- | ---: | ---: | ---: |")
    for condition, found in of.items():
        variant, twin = left(found)
        print(f"| {condition} | {len(found)} | {variant:.0%} | {twin:.0%} |")


if __name__ == "__main__":
    main()
