"""Run of an export: rows to files, in batches that an interruption does not undo."""

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full, unwritable_is_refused, write_whole
from nightrain.datasets.io.file_batch import FileBatch, sweep
from nightrain.datasets.io.marks import read_mark
from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.export.folders import FoldersLayout
from nightrain.pipelines.export.job import ExportDatasetJob, ExportReport
from nightrain.pipelines.export.kitti import KittiLayout
from nightrain.pipelines.export.layout import TreeLayout, record
from nightrain.pipelines.export.notice import notice
from nightrain.pipelines.export.payloads import Payload, PayloadReader
from nightrain.pipelines.export.progress import ExportProgress, open_progress
from nightrain.pipelines.export.selection import ExportRow, ExportSelection, select
from nightrain.pipelines.export.sign import PictureSigner
from nightrain.pipelines.export.webdataset import SampleNames, TarShards, json_member
from nightrain.pipelines.runs.stop import Stop

ROWS_PER_BATCH, BYTES_PER_BATCH = 500, 64 * 1024 * 1024
BYTES_PER_MB = 1_000_000
METADATA = "metadata.jsonl"


def export_dataset(
    job: ExportDatasetJob,
    stop: Stop,
    on_planned: Callable[[int], None] = lambda count: None,
    on_done: Callable[[int], None] = lambda count: None,
) -> ExportReport:
    """Export a dataset, or resume an interrupted export into the same folder.

    Raises InvalidRequest for a selection without rows and a folder that holds anything else,
    CorruptShard, DiskFull.
    """
    selection = select(job)
    if not len(selection):
        raise InvalidRequest(
            f"{job.dataset} has nothing to export in split {selection.split!r}: no variant that "
            "is current and accepted. Generate variants, or change --recipe or --split."
        )
    with unwritable_is_refused(job.out), no_space_is_disk_full(job.out):
        layout, signer = _layout(job, selection), _signer(job)
        progress = open_progress(job, selection)
        sweep(job.out)
        on_planned(len(selection))
        on_done(progress.num_done)
        report = _report(job, selection, progress)
        started = time.perf_counter()
        payloads = PayloadReader(Manifest(job.dataset), job.depth)
        export = Export(job, layout, payloads, progress, signer)
        kind = TarWriter if job.to == "webdataset" else TreeWriter
        with closing(kind(export)) as writer:
            _write_rows(writer, selection, stop, on_done, report)
            if not report.stopped and not progress.finished:
                _finish(export, selection)
            report.num_bytes, report.num_files = writer.batch.num_bytes, writer.num_files
        report.seconds = round(time.perf_counter() - started, 3)
        report.num_rows = progress.num_done
    return report


def _layout(job: ExportDatasetJob, selection: ExportSelection) -> TreeLayout:
    if job.to == "webdataset":
        return SampleNames()
    if job.to == "kitti":
        return KittiLayout(selection)
    if job.to == "folders":
        return FoldersLayout(selection)
    from nightrain.pipelines.export.md4all import Md4AllLayout  # imports readers of sources

    return Md4AllLayout(job, selection)


def _signer(job: ExportDatasetJob) -> PictureSigner | None:
    if job.sign_with is None or job.key is None:
        return None
    return PictureSigner(job.sign_with, job.key)


def _report(
    job: ExportDatasetJob, selection: ExportSelection, progress: ExportProgress
) -> ExportReport:
    return ExportReport(
        out=str(job.out),
        num_kept=progress.num_done,
        num_variants=selection.num_variants,
        num_frames=len(selection) - selection.num_variants,
        left_out=dict(selection.left_out),
    )


class Export(NamedTuple):
    """What an export writes, and how far it is."""

    job: ExportDatasetJob
    layout: TreeLayout
    payloads: PayloadReader
    progress: ExportProgress
    signer: PictureSigner | None = None

    def encoder(self, row: ExportRow, payload: Payload, data: bytes) -> Callable[[], bytes] | None:
        """Function that makes the bytes of a file; None where they are those of the shard.

        Raises InvalidRequest for a variant without a mark, which cannot be signed.
        """
        encode = self.layout.encoder(payload, data)
        if self.signer is None or payload != "image" or not row.is_generated:
            return encode
        if read_mark(data) is None:
            raise InvalidRequest(
                f"variant {row.key} has no mark that says how it was made, which a signature "
                "repeats; an earlier nightrain made it. Generate it anew, or leave out --sign-with."
            )
        return self.signer.signing(data, encode)


class RowWriter(ABC):
    """Writes rows in batches, and counts them as done when they are on the disk."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.batch = FileBatch(export.job.out)
        self.num_files = 0

    @abstractmethod
    def add(self, row: ExportRow) -> None:
        """Write a row; earlier rows may be committed by that."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the rows that were added."""

    def close(self) -> None:
        """Remove what was not committed."""
        self.batch.discard()

    def files(self, row: ExportRow, written: Set[str]) -> Iterator[tuple[Payload, str, bytes]]:
        """Yield the payloads of a row with their names and bytes, without what is written."""
        for payload, name in self.export.layout.names(row).items():
            if (
                name not in written
                and (data := self.export.payloads.read(row, payload)) is not None
            ):
                yield payload, name, data


class TreeWriter(RowWriter):
    """Writes a tree of files."""

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        self._shared: set[str] = set()  # files of the frames of one shard that are written
        self._shard, self._num_rows, self._num_bytes = "", 0, 0

    def add(self, row: ExportRow) -> None:
        """Write the files of a row that no row before had."""
        shard = row.frame_at[0].path
        if shard != self._shard:
            self._shard, self._shared = shard, set()
        if not self.export.layout.is_left_out(row):
            for payload, name, data in self.files(row, self._shared):
                encoder = self.export.encoder(row, payload, data)
                if encoder is None:
                    self.batch.add(name, data)
                else:
                    self.batch.add_made(name, encoder)
                self._count(name, len(data))
            for name, text in self.export.layout.texts(row).items():
                if name not in self._shared:
                    self.batch.add(name, text.encode())
                    self._count(name, len(text))
        self._num_rows += 1
        if self._num_rows >= ROWS_PER_BATCH or self._num_bytes >= BYTES_PER_BATCH:
            self.commit()

    def _count(self, name: str, num_bytes: int) -> None:
        self._shared.add(name)
        self._num_bytes += num_bytes  # as they are in the shards: what is kept until the commit
        self.num_files += 1

    def commit(self) -> None:
        """Give the files their names, and count the rows as done."""
        if self._num_rows:
            self.batch.commit()
            self.export.progress.num_done += self._num_rows
            self.export.progress.save(self.export.job.out)
            self._num_rows = self._num_bytes = 0


class TarWriter(RowWriter):
    """Writes tar shards."""

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        self._tars = TarShards(self.batch, export.progress, export.job.shard_mb * BYTES_PER_MB)

    def add(self, row: ExportRow) -> None:
        """Write a sample."""
        split, names = row.facts["split"], self.export.layout.names(row)
        facts = json_member(record(row, names, self.export.payloads))
        members = {f"{row.key}.json": facts}
        for payload, name, data in self.files(row, frozenset()):
            encoder = self.export.encoder(row, payload, data)
            members[name] = data if encoder is None else encoder()
        if self._tars.is_full(split, members):
            self.commit()
        self._tars.add(split, members)

    def commit(self) -> None:
        """Finish the tar file that is open."""
        self.num_files += self._tars.num_samples > 0
        self._tars.close()

    def close(self) -> None:
        """Remove what was not committed."""
        self._tars.abandon()
        super().close()


def _write_rows(
    writer: RowWriter,
    selection: ExportSelection,
    stop: Stop,
    on_done: Callable[[int], None],
    report: ExportReport,
) -> None:
    """Write the rows that are not done, until all are or a stop is requested."""
    left_out: Counter[str] = Counter()
    first = writer.export.progress.num_done
    for index, row in enumerate(selection.rows()):
        if reason := writer.export.layout.is_left_out(row):
            left_out[reason] += 1
        if index < first:
            continue
        if stop.requested:
            report.stopped = True
            break
        writer.add(row)
        on_done(1)
    if (
        not report.stopped or writer.export.job.to != "webdataset"
    ):  # a tar file is whole or not there
        writer.commit()
    report.left_out |= left_out


def _finish(export: Export, selection: ExportSelection) -> None:
    """Write the metadata table and the notice, and record that the export is finished."""
    job, layout, payloads, progress, _ = export

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            for row in selection.rows():
                if not layout.is_left_out(row):
                    found = record(row, layout.names(row), payloads)
                    file.write(json.dumps(found, allow_nan=False).encode() + b"\n")

    if job.to != "webdataset":
        write_whole(job.out / METADATA, write)
    write_whole(job.out / "README.md", notice(job, selection))
    progress.finished = True
    progress.save(job.out)
