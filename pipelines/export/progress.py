"""Progress of an export: what was asked for, and how many of its rows are written.

    OUT/export.json     a record with the request, the digest of the selection, and the counts

Rows have one order, so a number says which of them are written. A folder with another request, or
with anything else in it, is refused.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.atomic import make_folder, write_whole
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import names_in
from nightrain.pipelines.export.job import ExportDatasetJob
from nightrain.pipelines.export.selection import ExportSelection

NAME = "export.json"
PLACES = {"dataset", "out", "source", "key"}  # options that may differ when an export is resumed


class ExportProgress(BaseModel):
    """Record of an export."""

    model_config = ConfigDict(extra="forbid")
    request: dict[str, object]
    selection_sha256: str
    num_rows: int  # of the whole export
    num_done: int = 0  # the first so many rows
    tars: dict[str, int] = {}  # tar files by name, with the number of their samples
    finished: bool = False

    def save(self, out: Path) -> None:
        """Write the record."""
        write_whole(out / NAME, record_bytes("export", self.model_dump(mode="json")))


def open_progress(job: ExportDatasetJob, selection: ExportSelection) -> ExportProgress:
    """Start an export in an empty folder, or resume the same one.

    Raises InvalidRequest for a folder that holds anything else, CorruptShard.
    """
    ours = ExportProgress(
        request=job.model_dump(mode="json", exclude=PLACES),
        selection_sha256=selection.digest,
        num_rows=len(selection),
    )
    if job.out.exists() and not job.out.is_dir():
        raise InvalidRequest(f"--out {job.out} is a file; name a folder.")
    found = names_in(str(job.out))
    if str(job.out / NAME) not in found:
        if [name for name in found if not Path(name).name.startswith("_tmp")]:
            raise InvalidRequest(
                f"--out {job.out} holds {Path(found[0]).name} and no {NAME}, so it is not an "
                "export that could be resumed. Name a new or an empty folder."
            )
        make_folder(job.out)
        ours.save(job.out)
        return ours
    theirs = _read(job.out / NAME)
    changed = [key for key, value in ours.request.items() if theirs.request.get(key) != value]
    if theirs.selection_sha256 != ours.selection_sha256:
        changed = changed or ["the dataset, by new variants, labels or verdicts"]
    if changed:
        raise InvalidRequest(
            f"--out {job.out} holds another export; what differs: {', '.join(changed)}. Name "
            "another folder, or remove this one."
        )
    return theirs


def _read(path: Path) -> ExportProgress:
    try:
        return ExportProgress.model_validate(read_record(path, "export", "record of an export"))
    except ValidationError as error:
        raise CorruptShard(
            f"{path} is not a record of an export; remove the folder, and export again."
        ) from error
