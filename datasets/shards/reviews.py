"""Reviews: people's verdicts on single variants, which training and regating follow.

    DATASET/_reviews/<sample id>.json     verdict, reason, reviewer and time; the last one counts

A review changes no committed file. Variants that a person rejects stay in their shards and are left
out of training.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.atomic import replace_file, unwritable_is_refused
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.validation import in_one_line

FOLDER = "_reviews"
SAMPLE_ID = re.compile(r"[0-9a-f]{20}")


class Review(BaseModel):
    """A person's verdict on a variant."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sample_id: str = Field(pattern=f"^{SAMPLE_ID.pattern}$")
    verdict: Literal["accept", "reject"]
    reason: str = Field(default="", max_length=500)
    reviewer: str = Field(default="", max_length=100)
    created_at: datetime


def write_review(root: Path, review: Review) -> None:
    """Record a verdict; an earlier one on the same variant is replaced.

    Raises InvalidRequest if the dataset cannot be written, DiskFull.
    """
    with unwritable_is_refused(root):
        body = review.model_dump(mode="json")
        replace_file(root, _path(root, review.sample_id), record_bytes("review", body))


def remove_review(root: Path, sample_id: str) -> bool:
    """Remove the verdict on a variant; return whether there was one. Raises InvalidRequest."""
    path = _path(root, sample_id)
    with unwritable_is_refused(root):
        there = path.exists()
        path.unlink(missing_ok=True)
    return there


def read_reviews(root: Path) -> dict[str, Review]:
    """Return the verdicts by sample id; raises CorruptShard for a damaged one, UnreadableFile."""
    found: dict[str, Review] = {}
    for path in sorted(matching(Path(root) / FOLDER, "*.json")):
        try:
            review = Review.model_validate(read_record(path, "review", "review"))
        except ValidationError as error:
            raise CorruptShard(f"{path} is not a valid review: {in_one_line(error)}") from error
        if review.sample_id != path.stem:
            raise CorruptShard(f"{path} is the review of {review.sample_id}; rename or remove it")
        found[review.sample_id] = review
    return found


def rejected_ids(reviews: Mapping[str, Review]) -> set[str]:
    """Sample ids of the variants that people reject."""
    return {name for name, review in reviews.items() if review.verdict == "reject"}


def _path(root: Path, sample_id: str) -> Path:
    """Path of a review; raises InvalidRequest for what cannot be a sample id."""
    if not SAMPLE_ID.fullmatch(sample_id):
        raise InvalidRequest(
            f"found {sample_id!r:.80}, expected a sample id: 20 hex digits, as in the column "
            "sample_id of a variants shard"
        )
    return Path(root) / FOLDER / f"{sample_id}.json"


def require_variant(manifest: Manifest, sample_id: str) -> None:
    """Raise InvalidRequest unless a committed or a rejected variant has this id; CorruptShard."""
    for table in manifest.tables("variants"):
        for entry in manifest.entries(table):
            for file in (entry.rows, entry.quarantine):
                if file is None:
                    continue
                if sample_id in manifest.reader(file).table(["sample_id"]).column(0).to_pylist():
                    return
    raise InvalidRequest(
        f"{manifest.root} has no variant {sample_id!r:.80}, committed or rejected. The column "
        "sample_id of the shards below variants/ and quarantine/ lists them."
    )
