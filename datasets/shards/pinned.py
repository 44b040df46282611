"""Facts that are settled once for a folder of a dataset and hold for everybody who comes later.

    DATASET/_manifest/<name>.pinned     such as variants/diffusion-1a2b3c4d: its batch size

Created exclusively and complete, as manifest entries are: of several processes one settles them,
and the others, later runs and other machines find them and go by them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.atomic import create_exclusively, no_space_is_disk_full
from nightrain.datasets.shards.manifest import TABLE_NAME, body_digest

ENDING = ".pinned"
_FACTS = TypeAdapter(dict[str, str])


def pin(root: Path, name: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Record facts unless somebody did before; returns those that count.

    Raises CorruptShard where a record is damaged, InvalidRequest for a name that no table could
    have, DiskFull.
    """
    path = _path(root, name)
    body = {"name": name, "facts": dict(facts)}
    text = json.dumps({"pinned": body, "sha256": body_digest(body)}, indent=1)
    with no_space_is_disk_full(root):
        if create_exclusively(root, path, text.encode()):
            return dict(facts)
    return read_pinned(root, path)


def pinned(root: Path, name: str) -> dict[str, str] | None:
    """The facts that hold for a name, None where nothing is settled; raises CorruptShard."""
    path = _path(root, name)
    return read_pinned(root, path) if path.exists() else None


def pinned_paths(root: Path) -> list[Path]:
    """The records of a dataset."""
    return sorted((root / "_manifest").rglob(f"*{ENDING}"))


def read_pinned(root: Path, path: Path) -> dict[str, str]:
    """The facts of a record; raises CorruptShard where it is damaged or misplaced."""
    try:
        data = json.loads(path.read_bytes())
        body, sha256 = data["pinned"], data["sha256"]
        facts = _FACTS.validate_python(body["facts"], strict=True)
        intact = sha256 == body_digest(body) and path == _path(root, body["name"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptShard(f"{path} is no record of settled facts: {error}") from error
    if not intact:
        raise CorruptShard(
            f"{path} was changed since it was written, or belongs elsewhere. Take it from a copy "
            "of the dataset; the rows that it was settled for say what it held."
        )
    return facts


def _path(root: Path, name: str) -> Path:
    if not TABLE_NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r:.80} is no name of a table or folder of tables")
    return Path(root) / "_manifest" / f"{name}{ENDING}"
