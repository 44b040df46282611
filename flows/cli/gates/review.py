"""The command `review`: records a person's verdict on a variant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import console
from nightrain.flows.cli.options import command


class ReviewOptions(Settings):
    """Options of `nightrain review`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    sample_id: str = Field(
        description="Value of a variant's column sample_id", json_schema_extra={"cli": "argument"}
    )
    verdict: Literal["accept", "reject", "none"] = Field(
        description="reject: leave it out of training; accept: keep it whatever the limits of "
        "gates; none: remove the verdict",
        json_schema_extra={"cli": "argument"},
    )
    reason: str = Field(default="", max_length=500, description="Why")
    reviewer: str = Field(default="", max_length=100, description="Name of the reviewer")


@command
def review(job: ReviewOptions) -> None:
    """Record a person's verdict on a variant.

    Training leaves out variants that a person rejects, and `nightrain regate` follows the verdict
    instead of the limits. No committed file changes.
    """
    from nightrain.datasets.errors import InvalidRequest
    from nightrain.datasets.shards.manifest import Manifest
    from nightrain.datasets.shards.reviews import (
        Review,
        remove_review,
        require_variant,
        write_review,
    )
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    if job.verdict == "none":
        if not remove_review(job.dataset, job.sample_id):
            raise InvalidRequest(f"{job.dataset} has no review of {job.sample_id}.")
        console().print(f"removed the review of {job.sample_id}")
        return
    require_variant(Manifest(job.dataset), job.sample_id)
    write_review(
        job.dataset,
        Review(
            sample_id=job.sample_id,
            verdict=job.verdict,
            reason=job.reason,
            reviewer=job.reviewer,
            created_at=datetime.now(UTC),
        ),
    )
    console().print(f"{job.verdict}ed {job.sample_id}")
