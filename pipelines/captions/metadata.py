"""Metadata captions: built from the source's annotations, without weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightrain.pipelines.captions.captioner import one_line

MAX_PHRASES = 8  # a text encoder of Stable Diffusion reads 77 tokens
PLURALS = {"bus": "buses", "person": "people", "debris": "debris"}


@dataclass(frozen=True)
class MetadataCaptioner:
    """Captions from counts of the objects that the camera sees: "a street with 3 cars, 1 bus".

    A frame without annotations is "a street". The source's description of the scene is not used: it
    tells the drive ("turn left, wait at intersection"), not this camera's image.
    """

    name: str = "metadata"
    version: str = "2"
    weights: str = ""
    runs_on: str = "cpu"

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        """Return e.g. "a street with 3 cars, 1 bus"; images are not read."""
        if len(images) != len(about):
            raise ValueError(f"{len(images)} images and {len(about)} texts do not match")
        return [_sentence(text) for text in about]


def about_frame(objects: Mapping[str, int] | None, further: str = "") -> str:
    """Describe a frame: counts of its objects by plain name, most first, then further phrases."""
    most_first = sorted((objects or {}).items(), key=lambda item: (-item[1], item[0]))
    counted = [f"{n} {name if n == 1 else _plural(name)}" for name, n in most_first if n > 0]
    return ", ".join([*map(one_line, counted), *filter(None, [one_line(further)])])


def _sentence(about: str) -> str:
    phrases = [p.strip(" .") for p in re.split(r"[,;]", one_line(about))]
    phrases = list(dict.fromkeys(p[:1].lower() + p[1:] for p in phrases if p))
    return " with ".join(filter(None, ["a street", ", ".join(phrases[:MAX_PHRASES])]))


def _plural(name: str) -> str:
    return PLURALS.get(name, f"{name}s")
