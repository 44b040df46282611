"""Realism: distance of variants from recorded weather, beside that of recordings from each other.

Results: docs/studies/realism.md.

    python -m nightrain.benchmarks.realism DATASET --recipes weather,diffusion-bench --frames 300

Variants of train frames are compared with their recorded twins of the built-in world, at 224 x 128
pixels, on the pooled ImageNet features of EfficientNet-Lite0 (496 numbers, standardised by clear
pictures). Places are split into halves at random twenty times: variants of one half are compared
with recordings of the other. The floor is that of the recordings. Measures: KID (Binkowski et al.
2018); the squared MMD with a Gaussian kernel as wide as the median distance (Jayasumana et al. 2024
use it on CLIP's features as CMMD); the Frechet distance of the first 32 principal components
(Dowson and Landau 1982); and the Vendi score of the pictures alone (Friedman and Dieng 2023), the
number of different pictures that they are worth. With --real, a folder of pictures of one
condition, its distance from every set is added.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.linalg import sqrtm

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.io.regular import matching
from nightrain.datasets.loader.twins import recorded_frames
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.depthmodel.network.image_features import ImageFeatures, pooled_features
from nightrain.pipelines.small_diffusion.measure.kernel_distance import Distance, kid, of_halves

SIZE = (224, 128)  # width, height
COMPONENTS = 32


class Pictures(NamedTuple):
    """Features of pictures, and the place of each."""

    features: np.ndarray  # (N, D) float32
    places: np.ndarray  # (N,) str


def gaussian_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD of features (N, D), (M, D), kernel as wide as the median distance."""

    def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T

    a, b = a.astype(np.float64), b.astype(np.float64)
    width = float(np.median(squared(a, b)))

    def within(x: np.ndarray) -> float:
        kernel = np.exp(-squared(x, x) / width)
        return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(np.exp(-squared(a, b) / width).mean())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two normal distributions fitted to features (N, D), (M, D)."""
    cov_a, cov_b = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
    root: Any = sqrtm(cov_a @ cov_b)
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(cov_a + cov_b - 2 * np.real(root)))


def vendi(features: np.ndarray) -> float:
    """Vendi score of features (N, D): exp of the entropy of the cosine kernel's eigenvalues."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def features_of(images: Sequence[np.ndarray], network: ImageFeatures) -> np.ndarray:
    """Pooled features (N, D) of images (H, W, 3) uint8, reduced to one size."""
    return pooled_features(network, images, SIZE)


def sets_of(
    root: Path, recipes: Sequence[str], num_frames: int
) -> dict[Condition, dict[str, list[tuple[str, np.ndarray]]]]:
    """(Place, picture) of recorded twins, variants and clear frames, by condition and name."""
    manifest, recorded = Manifest(root), recorded_frames(root, "train")
    twins = {one.geometry: one for one in recorded if one.condition == Condition.NIGHT}
    clear = [o for o in recorded if o.condition == Condition.CLEAR and o.geometry in twins]
    chosen = clear[:: max(1, len(clear) // num_frames)][:num_frames]
    place_of = {one.frame_id: one.geometry.drive for one in chosen}
    geometries = {one.geometry for one in chosen}
    found: dict[Condition, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for one in recorded:
        if one.geometry in geometries:
            row = manifest.reader(one.entry.rows).row(one.row, ("image",))
            picture = one.geometry.drive, decode_jpeg(row["image"]["bytes"])
            if one.condition != Condition.CLEAR:
                found[one.condition]["recorded"].append(picture)
                continue
            for condition in (Condition.NIGHT, Condition.RAIN):
                found[condition]["clear frames"].append(picture)
    for recipe in recipes:
        for table in select_tables(manifest, recipe):
            condition = Condition(condition_of(table))
            if condition in found:
                found[condition][recipe] += _variants(manifest, table, place_of)
    return found


def _variants(
    manifest: Manifest, table: str, place_of: dict[str, str]
) -> Iterator[tuple[str, np.ndarray]]:
    for entry in manifest.entries(table):
        for row in manifest.reader(entry.rows).rows(("frame_id", "image")):
            if row["frame_id"] in place_of:
                yield place_of[row["frame_id"]], decode_jpeg(row["image"]["bytes"])


def real_pictures(folder: Path) -> list[np.ndarray]:
    """Pictures of a folder of JPEG or PNG files."""
    paths = [p for ending in ("jpg", "jpeg", "png") for p in matching(folder, f"*.{ending}")]
    return [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted(paths)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipes", default="weather")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--real", type=Path, help="folder of real pictures of one condition")
    options = parser.parse_args()
    network = ImageFeatures()
    sets = sets_of(options.dataset, options.recipes.split(","), options.frames)
    first = next(iter(sets.values()))["clear frames"]
    clear = features_of([picture for _, picture in first], network)
    mean, spread = clear.mean(0), clear.std(0) + 1e-6
    real = None
    if options.real is not None:
        pictures = features_of(real_pictures(options.real), network)
        names = np.array([f"real {n}" for n in range(len(pictures))])
        real = Pictures((pictures - mean) / spread, names)
    print("| condition | pictures | number | KID | Gaussian MMD | Frechet, 32 | Vendi |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for condition, by_name in sets.items():
        found = {
            name: Pictures(
                (features_of([picture for _, picture in listed], network) - mean) / spread,
                np.array([place for place, _ in listed]),
            )
            for name, listed in by_name.items()
        }
        found |= {} if real is None else {"real": real}
        true = found["recorded"]
        axes = np.linalg.svd(true.features - true.features.mean(0), full_matrices=False)[2]
        for name, one in found.items():
            cells = [_cell(one, true, kid), _cell(one, true, gaussian_mmd)]
            cells.append(_cell(_projected(one, axes), _projected(true, axes), frechet))
            row = [str(condition), name, str(len(one.features)), *cells]
            print(f"| {' | '.join(row)} | {vendi(one.features):.1f} |")


def _projected(pictures: Pictures, axes: np.ndarray) -> Pictures:
    return pictures._replace(features=pictures.features @ axes[:COMPONENTS].T)


def _cell(a: Pictures, b: Pictures, distance: Distance) -> str:
    mean, deviation = of_halves(a.features, b.features, (a.places, b.places), distance)
    return f"{mean:.3g} ± {deviation:.2g}"


if __name__ == "__main__":
    main()
