"""Condition classifier: fit it to a rendered world, and measure it at other places.

Results: docs/howto/gates.md.

    nightrain world --preset demo --scenes 40 --frames 3 --pairs night,rain,snow,fog,night-rain \\
      --size 224x128 --seed 77 --out WORLD
    python -m nightrain.benchmarks.condition_classifier WORLD --test DATASET --out WEIGHTS

It is fitted to three quarters of the places. The command prints how many pictures of each condition
it takes for which: at the other places, of the recorded val frames of DATASET, and of the variants
that DATASET holds (the first 40 of a table).
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from nightrain.datasets.io.images import decode_jpeg, resize_image
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.depthmodel.network.image_features import ImageFeatures, feature_maps, pooled
from nightrain.depthmodel.network.linear_classifier import Classifier, fit_classifier
from nightrain.pipelines.gates.built_in.condition import CLASSES, SIZE

HELD_OUT = 4  # every fourth place
MOST = 40  # pictures of a set


def fitted_on(world: Path, network: ImageFeatures) -> tuple[Classifier, dict[str, np.ndarray]]:
    """Fit the classifier; also return the features (N, D) at the held-out places by condition."""
    source = WorldConfig(root=world, neighbours=False).open()
    features, labels, held_out = [], [], defaultdict(list)
    places: dict[str, int] = {}
    for ref in source.select("all"):
        frame = source.load(ref)
        place = places.setdefault(frame.scene_id.split("-")[1], len(places))
        found = features_of(network, frame.image.data)
        if place % HELD_OUT == 0:
            held_out[str(frame.condition)].append(found)
        else:
            features.append(found)
            labels.append(CLASSES.index(frame.condition))
    classifier = fit_classifier(torch.stack(features), torch.tensor(labels), len(CLASSES))
    return classifier, {c: torch.stack(f).numpy() for c, f in held_out.items()}


def features_of(network: ImageFeatures, jpeg: bytes) -> torch.Tensor:
    """Pooled features (D,) of a picture."""
    return pooled(feature_maps(network, resize_image(decode_jpeg(jpeg), SIZE)[None]))[0]


def test_sets(root: Path, network: ImageFeatures) -> dict[tuple[str, str], np.ndarray]:
    """Features (N, D) of recorded val frames and of variants, by name and condition."""
    manifest, found = Manifest(root), defaultdict(list)
    for table in (FRAMES, *manifest.tables("variants/")):
        for entry in manifest.entries(table):
            if table == FRAMES and entry.about["split"] != "val":
                continue
            name = "recorded" if table == FRAMES else entry.about["recipe"]
            key = name, entry.about["condition"]
            for row in manifest.reader(entry.rows).rows(("image",)):
                if len(found[key]) < MOST:
                    found[key].append(features_of(network, row["image"]["bytes"]))
    return {key: torch.stack(features).numpy() for key, features in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", type=Path, help="rendered folder")
    parser.add_argument("--test", type=Path, help="dataset")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    network = ImageFeatures()
    classifier, held_out = fitted_on(options.world, network)
    sets = {("held-out places", condition): f for condition, f in held_out.items()}
    if options.test is not None:
        sets |= test_sets(options.test, network)
    print(f"| pictures | condition | number | right | {' | '.join(CLASSES)} |")
    print("| --- | --- |" + " ---: |" * (2 + len(CLASSES)))
    for (name, condition), features in sets.items():
        taken = classifier.probabilities(torch.from_numpy(features)).argmax(1).tolist()
        counts = Counter(str(CLASSES[one]) for one in taken)
        cells = [str(counts[str(one)]) for one in CLASSES]
        right = counts[condition] / len(taken)
        print(f"| {name} | {condition} | {len(taken)} | {right:.0%} | {' | '.join(cells)} |")
    if options.out is not None:
        names = ("mean", "deviation", "weight", "bias")
        save_file({n: getattr(classifier, n).contiguous() for n in names}, options.out)


if __name__ == "__main__":
    main()
