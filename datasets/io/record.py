"""Records: JSON files with the digest of their body, so that any change to them is detected."""

import hashlib
import json
from pathlib import Path
from typing import Any

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.regular import read_regular


def record_bytes(kind: str, body: object, indent: int | None = 1) -> bytes:
    """Return the content of a record: {kind: body, "sha256": digest of the body}."""
    return json.dumps({kind: body, "sha256": _digest(body)}, indent=indent).encode()


def read_record(path: Path, kind: str, what: str) -> Any:
    """Read the body of a record, which is `what` in words ("a manifest entry").

    Raises FileNotFoundError, UnreadableFile, and CorruptShard if it is damaged.
    """
    data = read_regular(path)
    try:
        record = json.loads(data)
        body, sha256 = record[kind], record["sha256"]
        intact = sha256 == _digest(body)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptShard(
            f"{path} is not a valid {what}: {type(error).__name__}: {error}"
        ) from error
    if not intact:
        raise CorruptShard(f"{path} is not a valid {what}: it was changed after it was written")
    return body


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
