"""Records: JSON files with the digest of their body, so that any change to them is detected.

    {"sha256": "<SHA-256 of BODY's bytes, in hex>", "<kind>": BODY}

Earlier records have the other order, {"<kind>": BODY, "sha256": ...}, and the digest of the body's
JSON with sorted keys. They are still read: a committed record is never rewritten.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.regular import read_regular

HEAD, END = '{{"sha256": "{}", "{}": ', b"}"


def record_bytes(kind: str, body: object) -> bytes:
    """Return the content of a record: the digest of a body, and the body, as JSON."""
    return _record(kind, json.dumps(body).encode())


def read_record(path: Path | str, kind: str, what: str) -> Any:
    """Read the body of a record, which is `what` in words ("a manifest entry").

    Raises FileNotFoundError, UnreadableFile, and CorruptShard if it is damaged.
    """
    text = read_record_text(path, kind, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, what, error) from error


def read_record_text(path: Path | str, kind: str, what: str) -> bytes:
    """Read the body of a record as JSON text whose digest is right; otherwise as `read_record`.

    It is several times faster, because the text is neither parsed nor written again.
    """
    data = read_regular(path)
    text = data[len(HEAD.format(64 * "0", kind)) : -len(END)]
    if data == _record(kind, text):
        return text
    return _text_before_digest(data, path, kind, what)


def _text_before_digest(data: bytes, path: Path | str, kind: str, what: str) -> bytes:
    """Body of an earlier record, whose digest follows it; raises CorruptShard."""
    try:
        record = json.loads(data)
        body, sha256 = record[kind], record["sha256"]
        text = json.dumps(body, sort_keys=True).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _corrupt(path, what, error) from error
    if list(record) != [kind, "sha256"] or sha256 != _digest(text):
        raise CorruptShard(f"{path} is not a valid {what}: it was changed after it was written")
    return text


def _record(kind: str, text: bytes) -> bytes:
    return HEAD.format(_digest(text), kind).encode() + text + END


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _corrupt(path: Path | str, what: str, error: Exception) -> CorruptShard:
    return CorruptShard(f"{path} is not a valid {what}: {type(error).__name__}: {error}")
