"""Settings pinned on first use and shared by all later runs.

    DATASET/_manifest/<name>.pinned     such as the batch size of variants/diffusion-1a2b3c4d

A record is created exclusively and as a whole, like a manifest entry: one of several processes pins
the settings, and the others, later runs and other machines use the pinned ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.atomic import create_exclusively, no_space_is_disk_full
from nightrain.datasets.shards.manifest import TABLE_NAME, body_digest

ENDING = ".pinned"
_SETTINGS = TypeAdapter(dict[str, str])


def pin(root: Path, name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Pin settings unless they are pinned already; return the pinned ones.

    Raises CorruptShard if the record is damaged, InvalidRequest if the name is not valid for a
    table, DiskFull.
    """
    path = _path(root, name)
    body = {"name": name, "settings": dict(settings)}
    text = json.dumps({"pinned": body, "sha256": body_digest(body)}, indent=1)
    with no_space_is_disk_full(root):
        if create_exclusively(root, path, text.encode()):
            return dict(settings)
    return read_pinned(root, path)


def pinned(root: Path, name: str) -> dict[str, str] | None:
    """Return the pinned settings of a name, or None; raises CorruptShard."""
    path = _path(root, name)
    return read_pinned(root, path) if path.exists() else None


def pinned_paths(root: Path) -> list[Path]:
    """Return the paths of a dataset's records of pinned settings."""
    return sorted((root / "_manifest").rglob(f"*{ENDING}"))


def read_pinned(root: Path, path: Path) -> dict[str, str]:
    """Read the settings of a record; raises CorruptShard if it is damaged or in the wrong place."""
    try:
        data = json.loads(path.read_bytes())
        body, sha256 = data["pinned"], data["sha256"]
        settings = _SETTINGS.validate_python(body["settings"], strict=True)
        intact = sha256 == body_digest(body) and path == _path(root, body["name"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptShard(f"{path} is not a valid record of pinned settings: {error}") from error
    if not intact:
        raise CorruptShard(
            f"{path} was changed after it was written, or belongs to another path. Restore it from "
            "a copy of the dataset; the rows of its tables record the settings they were made with."
        )
    return settings


def _path(root: Path, name: str) -> Path:
    if not TABLE_NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r:.80} is not a valid name of a table or folder of tables")
    return Path(root) / "_manifest" / f"{name}{ENDING}"
