"""Style pool: real night or rain images as image prompts, drawn by each sample's seed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import MAX_FILE_BYTES, decode_jpeg
from nightrain.datasets.io.regular import matching
from nightrain.datasets.io.untrusted import read_bytes

SUFFIXES = (".jpg", ".jpeg")


class StylePool:
    """Folder with one folder of JPEGs per condition: pool/night/*.jpg, pool/rain/*.jpg."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Condition, Sequence[str]] = {}
        self._levels: dict[str, float] = {}

    def names(self, condition: Condition) -> Sequence[str]:
        """Return the sorted names of a condition's images; raises InvalidRequest for none."""
        if condition not in self._names:
            folder = self._root / condition
            found = sorted(p for p in matching(folder, "*") if p.suffix.lower() in SUFFIXES)
            if not found:
                raise InvalidRequest(
                    f"`style_pool` has no JPEG in {folder.absolute()}. Make the pool with "
                    f"`nightrain styles DATASET --out {self._root}`; a real {condition} image is "
                    "the image prompt of each variant."
                )
            self._names[condition] = [f"{condition}/{p.name}" for p in found]
        return self._names[condition]

    def draw(self, condition: Condition, seed: int) -> str:
        """Draw the name of a sample's style image; raises InvalidRequest if there is none."""
        names = self.names(condition)
        # A separate random stream, so that style and noise are independent.
        return names[int(np.random.default_rng([seed, 2]).integers(len(names)))]

    def read(self, name: str) -> np.ndarray:
        """Read a style image (H, W, 3) uint8 by name; raises DamagedInput."""
        return decode_jpeg(read_bytes(self._root, name, MAX_FILE_BYTES))

    def require_readable(self, condition: Condition) -> None:
        """Decode all images of a condition; raises InvalidRequest for the first damaged one."""
        for name in self.names(condition):
            try:
                self.read(name)
            except DamagedInput as error:
                raise InvalidRequest(
                    f"The style image {self._root / name} cannot be used: {error}. Replace or "
                    "remove it: any variant may draw it."
                ) from error

    def mean_level(self, name: str) -> float:
        """Mean level, in [0, 1], of a style image; raises DamagedInput."""
        if name not in self._levels:
            self._levels[name] = float(self.read(name).mean(dtype=np.float64)) / 255
        return self._levels[name]

    def digest(self, condition: Condition) -> str:
        """Digest of a condition's images, which is part of the engine's version."""
        digest = hashlib.sha256()
        for name in self.names(condition):
            digest.update(hashlib.sha256(read_bytes(self._root, name, MAX_FILE_BYTES)).digest())
        return digest.hexdigest()[:16]
