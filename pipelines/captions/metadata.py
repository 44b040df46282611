"""Metadata captions: built from the source's own records, without weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightrain.pipelines.captions.captioner import one_line

MAX_PHRASES = 8  # a text encoder of Stable Diffusion reads 77 tokens
PLAIN_NAMES = {  # nuScenes' categories that need other words; all others are shortened
    "human.pedestrian.police_officer": "police officer",
    "human.pedestrian.construction_worker": "construction worker",
    "movable_object.trafficcone": "traffic cone",
    "movable_object.pushable_pullable": "cart",
    "vehicle.emergency.ambulance": "ambulance",
    "vehicle.emergency.police": "police car",
    "vehicle.construction": "construction vehicle",
}
PLURALS = {"bus": "buses", "person": "people", "debris": "debris"}


@dataclass(frozen=True)
class MetadataCaptioner:
    """Captions from the scene's description and, if `about` has them, counts of its objects."""

    name: str = "metadata"
    version: str = "1"
    weights: str = ""
    runs_on: str = "cpu"

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        """Return e.g. "a street with 3 cars, 1 bus, parked truck"; images are not read."""
        if len(images) != len(about):
            raise ValueError(f"{len(images)} images and {len(about)} texts do not match")
        return [_sentence(text) for text in about]


def about_frame(description: str, object_counts: Mapping[str, int] | None = None) -> str:
    """Describe a frame: counts of objects by category, then the scene's description.

    Categories are nuScenes' ("vehicle.bus.bendy") or plain words ("bus"); counts of 0 are left out.
    """
    totals: dict[str, int] = {}
    for category, count in (object_counts or {}).items():
        name = _plain_name(category)
        totals[name] = totals.get(name, 0) + max(0, count)
    most_first = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    counted = [f"{n} {name if n == 1 else _plural(name)}" for name, n in most_first if n]
    return ", ".join([*counted, *filter(None, [one_line(description)])])


def _sentence(about: str) -> str:
    phrases = [p.strip(" .") for p in re.split(r"[,;]", one_line(about))]
    phrases = list(dict.fromkeys(p[:1].lower() + p[1:] for p in phrases if p))
    return " with ".join(filter(None, ["a street", ", ".join(phrases[:MAX_PHRASES])]))


def _plain_name(category: str) -> str:
    if category in PLAIN_NAMES:
        return PLAIN_NAMES[category]
    parts = category.split(".")
    return one_line(parts[min(1, len(parts) - 1)].replace("_", " "))


def _plural(name: str) -> str:
    return PLURALS.get(name, f"{name}s")
