"""Rated weather: how much rain, snow or fog a picture shows, to match severities to a fleet.

Results: docs/studies/severity.md.

    python -m nightrain.benchmarks.rated_weather --dataset DATASET --recipe weather --real FOLDER

A ridge regression of the logarithm of a quantity on pooled ImageNet features is fitted to pictures
of the built-in world, whose weather is known, and tested at other places. It then rates variants,
whose physical values are in their rows, and the pictures of FOLDER, in sub-folders named after the
conditions. Nights are not rated: exposure hides how dark they are.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from nightrain.benchmarks.realism import features_of, real_pictures
from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.datasets.world.export.plan import Recording, ScenePlan, SceneSpec
from nightrain.datasets.world.export.writer import write_world
from nightrain.datasets.world.scene.weather import draw_weather
from nightrain.depthmodel.network.image_features import ImageFeatures
from nightrain.pipelines.inspect.stats import sample

QUANTITIES = {
    Condition.RAIN: "rain_mm_per_h",
    Condition.SNOW: "snow_mm_per_h",
    Condition.FOG: "visibility_m",
}
SEED, SIZE = 78, (224, 128)
HELD_OUT = 3  # every third place
STRENGTHS = np.logspace(0, 5, 11)  # of the ridge
MOST_VARIANTS = 200


class Rated(NamedTuple):
    """Pictures with a known quantity, and what they are rated at."""

    known: np.ndarray  # (N,)
    rated: np.ndarray  # (N,)

    @property
    def spearman(self) -> float:
        """Rank correlation of the two."""
        found: Any = spearmanr(self.known, self.rated)
        return float(found.statistic)

    @property
    def factor(self) -> float:
        """Median factor between the two, at least 1."""
        return float(np.exp(np.median(np.abs(np.log(self.rated / self.known)))))

    @property
    def ratio(self) -> float:
        """Median of rated over known: above 1 where the pictures look like more."""
        return float(np.median(self.rated / self.known))


class Rater:
    """Rates a quantity from pooled features (N, D), by a ridge regression of its logarithm.

    The strength of the ridge is that of the least generalised cross-validation error (Golub, Heath
    and Wahba 1979).
    """

    def __init__(self, features: np.ndarray, known: np.ndarray) -> None:
        self._mean, self._deviation = features.mean(0), features.std(0) + 1e-6
        self._middle = float(np.log(known).mean())
        target = np.log(known) - self._middle
        u, singular, vt = np.linalg.svd(self._standard(features), full_matrices=False)
        best = np.inf
        for strength in STRENGTHS:
            kept = singular**2 / (singular**2 + strength)
            left = target - u @ (kept * (u.T @ target))
            error = float((left**2).mean() / (1 - kept.sum() / len(target)) ** 2)
            if error < best:
                best = error
                self._weights = vt.T @ (singular / (singular**2 + strength) * (u.T @ target))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Quantity (N,) in its unit."""
        return np.exp(self._standard(features) @ self._weights + self._middle)

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return ((features - self._mean) / self._deviation).astype(np.float64)


def rendered(
    folder: Path, condition: Condition, num_places: int, network: ImageFeatures
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) of a picture of each place that is rendered, and its quantity (N,).

    Places where the weather has just stopped are left out.
    """
    specs = [SceneSpec(place=place, condition=condition) for place in range(num_places)]
    write_world(
        folder, scenes=specs, frames=1, seed=SEED, size=SIZE, sweeps="none", truth=(), processes=2
    )
    known = {}
    for spec in specs:
        plan = ScenePlan(seed=SEED, spec=spec, recording=Recording(num_keyframes=1))
        weather = draw_weather(plan.rng("layout").spawn(1)[0], condition)
        known[plan.name] = getattr(weather, QUANTITIES[condition])
    source = WorldConfig(root=folder, neighbours=False).open()
    frames = (source.load(ref) for ref in source.select("all"))
    found = [(decode_jpeg(f.image.data), known[f.scene_id]) for f in frames if known[f.scene_id]]
    return features_of([image for image, _ in found], network), np.array([k for _, k in found])


def variants(
    dataset: Path, recipe: str, condition: Condition
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield variants (H, W, 3) of a recipe, evenly spaced, with their quantity."""
    manifest = Manifest(dataset)
    tables = [t for t in select_tables(manifest, recipe) if condition_of(t) == condition]
    entries = [entry for table in tables for entry in manifest.entries(table)]
    for row in sample(manifest, entries, MOST_VARIANTS, ("image", "physical")):
        quantity = (row["physical"] or {}).get(QUANTITIES[condition])
        if quantity is not None:
            yield decode_jpeg(row["image"]["bytes"]), quantity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--recipe", default="weather")
    parser.add_argument("--real", type=Path, help="folder with folders rain, snow, fog of pictures")
    parser.add_argument("--places", type=int, default=90)
    options = parser.parse_args()
    network = ImageFeatures()
    print("| pictures | condition | quantity | number | Spearman | factor | rated / stated |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for condition, quantity in QUANTITIES.items():
        with tempfile.TemporaryDirectory() as folder:
            features, known = rendered(Path(folder) / "w", condition, options.places, network)
        out = np.arange(len(known)) % HELD_OUT == 0
        rater = Rater(features[~out], known[~out])
        found = {"other places": Rated(known[out], rater(features[out]))}
        if options.dataset is not None:
            pairs = list(variants(options.dataset, options.recipe, condition))
            shown = features_of([image for image, _ in pairs], network)
            found[options.recipe] = Rated(np.array([q for _, q in pairs]), rater(shown))
        for name, one in found.items():
            print(
                f"| {name} | {condition} | {quantity} | {len(one.known)} | {one.spearman:.2f} | "
                f"{one.factor:.2f} | {one.ratio:.2f} |"
            )
        if options.real is not None and (options.real / condition).is_dir():
            rates = rater(features_of(real_pictures(options.real / condition), network))
            values = ", ".join(f"{rate:.3g}" for rate in rates)
            print(f"| real | {condition} | {quantity} | {len(rates)} | rated {values} | | |")


if __name__ == "__main__":
    main()
