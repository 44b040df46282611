"""The files of a source: read within its root, bounded in size, compared with checksums."""

from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.io.untrusted import Checksums, read_bytes

MAX_LIDAR_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Files:
    """The files below a root: read within it, and compared with their checksums."""

    root: Path
    sums: Checksums

    def read(self, name: object, max_bytes: int) -> bytes:
        """Bytes of the file `name`; raises DamagedInput."""
        data = read_bytes(self.root, name, max_bytes)
        self.sums.verify(str(name), data)
        return data
