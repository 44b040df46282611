"""Verify job: re-hashes every committed file of a dataset."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.shards.verify import verify
from nightrain.datasets.validation import Settings, parse_since
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, unless_stopped


class DatasetOptions(Settings):
    """Options of the commands that read a whole dataset."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )


class VerifyJob(DatasetOptions):
    """Options of `nightrain verify`, and the parameter of the flow `verify-dataset`."""

    since: str = Field(
        default="",
        description="Read only shards committed since then: a date such as 2026-11-20, or 12h, 7d "
        "or 2w ago",
    )
    sample: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="Share of the shards to read, chosen at random at each call",
    )

    @field_validator("since")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if value:
            parse_since(value)
        return value

    @property
    def title(self) -> str:
        """What the job does, for lists of runs: "verification of nuscenes"."""
        return f"verification of {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by."""
        return ("verification",)


class VerifiedReport(BaseModel):
    """Counts of a verified dataset."""

    stopped: bool = False
    num_shards: int = 0
    num_rows: int = 0
    num_quarantined: int = 0
    num_unread: int = 0  # shards of which only name, kind and size were checked

    @property
    def line(self) -> str:
        """Summary in one line."""
        unread = f"; {self.num_unread} shards were not read" if self.num_unread else ""
        return (
            f"accepted: {self.num_shards} shards, {self.num_rows} rows, "
            f"{self.num_quarantined} quarantined{unread}"
        )


def require_dataset(folder: Path) -> None:
    """Raise InvalidRequest for a folder without committed shards."""
    if not (folder / "_manifest").is_dir():
        raise InvalidRequest(
            f"{folder} holds no committed shards: it has no folder _manifest. Give the folder that "
            "`nightrain ingest --out` wrote."
        )


def require_verified(
    job: VerifyJob, *, stop: Stop, on_step: Callable[[int, int], None]
) -> VerifiedReport:
    """Verify a dataset; raises InvalidRequest, and NightrainError if anything is damaged."""
    since = parse_since(job.since) if job.since else None
    progress = unless_stopped(stop, on_step)
    try:
        report = verify(job.dataset, progress, since=since, share=job.sample)
    except WorkCancelled:
        return VerifiedReport(stopped=True)
    if not report.accepted:
        found = [f"{problem.path}: {problem.message}" for problem in report.problems]
        found += [f"{name}: it has no manifest entry" for name in report.orphans]
        if not found:
            raise NightrainError(f"{job.dataset} holds no committed shards.")
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise NightrainError(f"{job.dataset} has {count}. {found[0]}")
    return VerifiedReport(
        num_shards=report.num_shards,
        num_rows=report.num_rows,
        num_quarantined=report.num_quarantined,
        num_unread=report.num_unread,
    )
