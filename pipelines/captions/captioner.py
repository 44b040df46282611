"""Captioner interface: images in, one sentence per image out."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nightrain.datasets.shards.manifest import CAPTIONS


class Captioner(Protocol):
    """Captions images; picklable, and loads its weights at the first image."""

    @property
    def name(self) -> str:
        """Short name, the first part of its table's name: "blip2"."""
        ...

    @property
    def version(self) -> str:
        """Version string, with every setting that affects the captions."""
        ...

    @property
    def weights(self) -> str:
        """Identity of the weights: "Salesforce/blip2-opt-2.7b@59a1ef6c1e51"; "" without any.

        Raises InvalidRequest if the weights are missing and not pinned.
        """
        ...

    @property
    def runs_on(self) -> str:
        """Type of device that the captioner runs on: "cpu", "cuda"."""
        ...

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        """Return one caption per image (H, W, 3) uint8 sRGB and list of its objects.

        Raises InvalidRequest if the weights are missing.
        """
        ...


def captions_table(captioner: Captioner) -> str:
    """Return the table of a captioner, "captions/blip2-1a2b3c4d"; raises InvalidRequest."""
    parts = "\n".join((captioner.name, captioner.version, captioner.weights))
    return f"{CAPTIONS}/{captioner.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"


def one_line(text: str) -> str:
    """Remove line breaks, control characters and double spaces from a text."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())
