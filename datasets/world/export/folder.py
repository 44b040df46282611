"""Files of one scene, written once under a folder, with their digests."""

import hashlib
import os
from pathlib import Path

from nightrain.datasets.io.atomic import fsync


class Folder:
    """Files written once under a root; `files` maps relative paths to SHA-256 and bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, tuple[str, int]] = {}

    def write(self, relative: str, data: bytes) -> None:
        """Write one file, creating its folders."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.files[relative] = (hashlib.sha256(data).hexdigest(), len(data))

    def sync(self) -> None:
        """Sync the files and their folders to the disk."""
        for folder, _, names in os.walk(self.root, topdown=False):
            for name in names:
                fsync(Path(folder, name))
            fsync(Path(folder))
