"""Settings pinned on first use and shared by all later runs.

    DATASET/_manifest/<name>.pinned     such as the batch size of variants/diffusion-1a2b3c4d

A record is created exclusively and as a whole, like a manifest entry: one of several processes pins
the settings, and the others, later runs and other machines use the pinned ones.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.atomic import create_exclusively, unwritable_is_refused
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import files_below
from nightrain.datasets.shards.manifest import TABLE_NAME
from nightrain.datasets.validation import in_one_line

ENDING = ".pinned"
RESTORE = (
    "Run `nightrain repair`, or restore it from a copy of the dataset; the rows of its tables "
    "record the settings they were made with."
)
_SETTINGS = TypeAdapter(dict[str, str])


def pin(root: Path, name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Pin settings unless they are pinned already; return the pinned ones.

    Raises CorruptShard if the record is damaged, InvalidRequest if the name is not valid for a
    table or the dataset cannot be written, DiskFull.
    """
    path = _path(root, name)
    body = {"name": name, "settings": dict(settings)}
    with unwritable_is_refused(root):
        if create_exclusively(root, path, record_bytes("pinned", body)):
            return dict(settings)
    return read_pinned(root, path)


def pinned(root: Path, name: str) -> dict[str, str] | None:
    """Return the pinned settings of a name, or None; raises CorruptShard, UnreadableFile."""
    try:
        return read_pinned(root, _path(root, name))
    except FileNotFoundError:
        return None


def unpin(root: Path, name: str) -> None:
    """Remove the record of a name, if there is one; the settings are pinned anew on next use."""
    with unwritable_is_refused(root):
        _path(root, name).unlink(missing_ok=True)


def pinned_paths(root: Path) -> list[Path]:
    """Return the paths of a dataset's records of pinned settings; raises UnreadableFile."""
    return list(files_below(root / "_manifest", ENDING))


def read_pinned(root: Path, path: Path) -> dict[str, str]:
    """Read the settings of a record; raises CorruptShard if it is damaged or in the wrong place.

    Raises FileNotFoundError, UnreadableFile.
    """
    try:
        body = read_record(path, "pinned", "record of pinned settings")
        settings = _SETTINGS.validate_python(body["settings"], strict=True)
        in_place = path == _path(root, body["name"])
    except (KeyError, TypeError, InvalidRequest, ValidationError) as error:
        raise CorruptShard(
            f"{path} is not a valid record of pinned settings: {in_one_line(error)}"
        ) from error
    except CorruptShard as error:
        raise CorruptShard(f"{error}. {RESTORE}") from error
    if not in_place:
        raise CorruptShard(f"{path} belongs to another path: it is for {body['name']!r}. {RESTORE}")
    return settings


def _path(root: Path, name: str) -> Path:
    if not TABLE_NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r:.80} is not a valid name of a table or folder of tables")
    return Path(root) / "_manifest" / f"{name}{ENDING}"
