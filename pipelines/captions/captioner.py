"""What every captioner takes and gives."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nightrain.datasets.shards.manifest import CAPTIONS


class Captioner(Protocol):
    """Says in one sentence what a picture shows; picklable, and loads nothing until it is asked."""

    @property
    def name(self) -> str:
        """Short name that starts the name of its table: "blip2"."""
        ...

    @property
    def version(self) -> str:
        """Raised when the same picture gives other words; holds every setting that decides them."""
        ...

    @property
    def weights(self) -> str:
        """Which weights: "Salesforce/blip2-opt-2.7b@59a1ef6c1e51"; "" without any.

        Raises InvalidRequest where that is not known without weights that are missing.
        """
        ...

    @property
    def runs_on(self) -> str:
        """Kind of device that makes the captions: "cpu", "cuda"."""
        ...

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        """One caption per picture (H, W, 3) uint8 sRGB and the source's words about its scene.

        Raises InvalidRequest where the weights are missing.
        """
        ...


def captions_table(captioner: Captioner) -> str:
    """Table of a captioner's captions: "captions/blip2-1a2b3c4d"; raises InvalidRequest."""
    parts = "\n".join((captioner.name, captioner.version, captioner.weights))
    return f"{CAPTIONS}/{captioner.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"


def one_line(text: str) -> str:
    """Text without line breaks, control characters and double spaces."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())
