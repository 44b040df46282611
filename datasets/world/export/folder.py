"""Atomic output folder: it appears complete or not at all, with a checksum per file."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full

SUMS = "SHA256SUMS"


class Folder:
    """Files written once under a root; `digests` maps relative paths to SHA-256."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests: dict[str, str] = {}
        self.num_bytes = 0

    def write(self, relative: str, data: bytes) -> None:
        """Write one file, creating its folders."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.digests[relative] = hashlib.sha256(data).hexdigest()
        self.num_bytes += len(data)

    def add(self, other: "Folder") -> None:
        """Add the digests of files that another process wrote under the same root."""
        self.digests |= other.digests
        self.num_bytes += other.num_bytes

    def write_sums(self) -> None:
        """Write SHA256SUMS in the format of the command sha256sum, sorted by path."""
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.digests.items())]
        (self.root / SUMS).write_text("".join(lines))


@contextmanager
def new_folder(out: Path) -> Iterator[Folder]:
    """Fill a hidden sibling of `out` and rename it at the end; a failure leaves nothing behind.

    Raises InvalidRequest where `out` is a file or a non-empty folder, and DiskFull.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    growing = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with no_space_is_disk_full(out.parent):
            growing.chmod(0o755)
            folder = Folder(growing)
            yield folder
            folder.write_sums()
            check_free(out)
            os.rename(growing, out)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def check_free(out: Path) -> None:
    """Raise InvalidRequest unless `out` is absent or an empty folder."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InvalidRequest(
            f"{out} is not a folder; a world needs a new or an empty folder: name another"
        )
    if out.is_dir() and (found := sorted(p.name for p in out.iterdir())):
        raise InvalidRequest(
            f"{out} already holds {len(found)} entries ({', '.join(found[:3])}, ...); a world is "
            "written into a new or an empty folder: remove it or name another"
        )
