"""Layout `webdataset`: tar files of samples, which training reads one after the other.

    train-000000.tar: <key>.json, <key>.jpg, <key>.depth.png, <key>.label.png, ...

The bytes of a tar file depend on its samples alone: times, owners and modes are fixed.
"""

import io
import json
import tarfile
from collections.abc import Mapping
from typing import BinaryIO

from nightrain.datasets.io.file_batch import FileBatch
from nightrain.datasets.splits import check_split
from nightrain.pipelines.export.layout import Names, TreeLayout
from nightrain.pipelines.export.progress import ExportProgress
from nightrain.pipelines.export.selection import ExportRow

BLOCK = tarfile.BLOCKSIZE
COPY_BYTES = 1 << 20
END_BYTES = tarfile.RECORDSIZE  # two empty blocks, filled up to a whole record


class SampleNames(TreeLayout):
    """Names of the members of a sample."""

    def names(self, row: ExportRow) -> Names:
        """Name of the member of each payload."""
        return {
            "image": f"{row.key}.jpg",
            "depth": f"{row.key}.depth.png",
            "label": f"{row.key}.label.png",
            "label_confidence": f"{row.key}.label_confidence.png",
            "confidence": f"{row.key}.confidence.png",
        }


class TarShards:
    """Writes samples to tar files of bounded size, each of one split."""

    def __init__(self, batch: FileBatch, progress: ExportProgress, most_bytes: int) -> None:
        self._batch, self._progress, self._most_bytes = batch, progress, most_bytes
        self._file: BinaryIO | None = None
        self._tar: tarfile.TarFile | None = None
        self._name = self._split = ""
        self.num_samples = 0  # of the tar file that is open

    def is_full(self, split: str, members: Mapping[str, bytes]) -> bool:
        """Whether a sample needs a new tar file."""
        if self._tar is None or not self.num_samples:
            return False
        size = sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in members.values())
        return split != self._split or self._tar.offset + size + END_BYTES > self._most_bytes

    def add(self, split: str, members: Mapping[str, bytes]) -> None:
        """Append a sample; `is_full` says when to `close` before."""
        check_split(split)
        if self._tar is None:
            number = sum(name.startswith(f"{split}-") for name in self._progress.tars)
            self._split, self._name = split, f"{split}-{number:06d}.tar"
            self._file = self._batch.open(self._name)
            self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        for name, data in members.items():
            member = tarfile.TarInfo(name)  # its time and owner are 0
            member.size, member.mode = len(data), 0o644
            self._tar.addfile(member, io.BytesIO(data))
        self.num_samples += 1

    def close(self) -> None:
        """Finish the tar file that is open, give it its name, and count its samples as done."""
        if self._tar is None or self._file is None:
            return
        self._tar.close()
        self._file.close()
        self._batch.commit()
        self._progress.tars[self._name] = self.num_samples
        self._progress.num_done += self.num_samples
        self._progress.save(self._batch.root)
        self._tar, self._file, self.num_samples = None, None, 0

    def abandon(self) -> None:
        """Close what is open without giving it a name."""
        if self._file is not None:
            self._file.close()


def json_member(record: Mapping[str, object]) -> bytes:
    """Metadata of a sample; file names are those of its members."""
    return json.dumps(record, allow_nan=False).encode()
