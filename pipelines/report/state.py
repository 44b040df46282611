"""State of a dataset in a report: tells whether the report still shows what the dataset holds."""

import hashlib
import re
from pathlib import Path

from nightrain.datasets.shards.manifest import Manifest

HEAD_BYTES = 4096  # the tag is at the top of the page
STATE_TAG = re.compile(rb'<meta name="nightrain-state" content="([0-9a-f]{64})">')


def dataset_state(manifest: Manifest, pictures: int) -> str:
    """Return a digest of the manifest and of the report's number of pictures: 64 hex digits.

    Raises CorruptShard.
    """
    digest = hashlib.sha256(f"{pictures}\n".encode())
    for table in manifest.tables():
        for entry in manifest.entries(table):
            digest.update(f"{entry.model_dump_json()}\n".encode())
    return digest.hexdigest()


def state_of_report(path: Path) -> str:
    """Return the digest in a report's file; "" if there is no such file, or it has none."""
    try:
        with path.open("rb") as file:
            found = STATE_TAG.search(file.read(HEAD_BYTES))
    except OSError:
        return ""
    return found[1].decode() if found else ""
