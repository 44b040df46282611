"""Quarantine limit: a run that quarantines too large a share of its rows has not succeeded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from nightrain.datasets.errors import Reason
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.transaction import num_done
from nightrain.pipelines.runs.run import RunReport


def _without_percent(value: Any) -> Any:
    """Convert "5 %" to 0.05; other values are left to pydantic."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return value
    return value


MAX_QUARANTINED, MAX_REJECTED = 0.05, 0.5
MaxRejected = Annotated[
    float,
    BeforeValidator(_without_percent),
    Field(
        ge=0,
        le=1,
        description="Largest accepted share of variants that gates reject, such as 0.3 or 30%; "
        "they do not count for --max-quarantined",
    ),
]
MaxQuarantined = Annotated[
    float,
    BeforeValidator(_without_percent),
    Field(
        ge=0,
        le=1,
        description="Largest accepted share of quarantined rows, such as 0.1 or 10%; with more, "
        "the exit code is 3 and the flow run fails",
    ),
]


GATE_REJECTED = str(Reason.GATE_REJECTED)


@dataclass
class Tally:
    """Rows that were attempted, and those of them in quarantine by reason."""

    num_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, table: str, num_stored: int, quarantined: dict[str, int]) -> None:
        """Add rows of a table: those stored, and those quarantined by reason."""
        self.num_rows += num_done(table, num_stored, quarantined)
        self.reasons.update(quarantined)

    def parts(self) -> tuple["Tally", "Tally"]:
        """Split the rows in quarantine: those that failed, and those that gates rejected."""
        rejected = {reason: n for reason, n in self.reasons.items() if reason == GATE_REJECTED}
        failed = {reason: n for reason, n in self.reasons.items() if reason not in rejected}
        return Tally(self.num_rows, Counter(failed)), Tally(self.num_rows, Counter(rejected))

    @property
    def share(self) -> float:
        """Quarantined share of the rows, in [0, 1]."""
        return self.reasons.total() / self.num_rows if self.num_rows else 0.0


def check_quarantine(
    report: RunReport,
    manifest: Manifest,
    shards: Sequence[Shard],
    limit: float,
    *,
    max_rejected: float = MAX_REJECTED,
    retried: bool = False,
) -> None:
    """Set the report's `over_limit` if too large a share of rows is in quarantine.

    Variants that gates reject have a limit of their own, since nothing has failed.

    Counts the rows that this run made. If it made none, or only retried rows, counts all planned
    rows after their latest attempt, so that a run with nothing to do does not hide the failures of
    an earlier one. Raises CorruptShard.
    """
    tally = Tally()
    for name, table in report.tables.items():
        tally.add(name, table.num_rows, table.quarantined)
    if retried or not tally.num_rows:
        tally = _planned(manifest, shards)
    if report.stopped:
        return
    failed, rejected = tally.parts()
    if failed.share > limit:
        report.over_limit = sentence(failed, limit, _examples(manifest, shards, failed))
    elif rejected.share > max_rejected:
        examples = _examples(manifest, shards, rejected)
        report.over_limit = sentence(rejected, max_rejected, examples, "--max-rejected")


def check_frames(
    report: RunReport, num_frames: int, limit: float, *, retried: bool = False
) -> None:
    """Set the report's `over_limit` for an ingestion that selected `num_frames` frames.

    Counts all selected frames and, unless it retried some, those that this run read; either share
    may be too large.
    """
    read = Tally()
    for name, table in report.tables.items() if not retried else ():
        read.add(name, table.num_rows, table.quarantined)
    bad = Counter(frame.reason for frame in report.bad_frames)
    bad.update({str(Reason.BAD_RECORD): len(report.unplaced)} if report.unplaced else {})
    selected = Tally(num_frames + len(report.unplaced), bad)
    examples = {frame.reason: " ".join(frame.message.split()) for frame in report.bad_frames}
    tally = max((read, selected), key=lambda tally: tally.share)
    if not report.stopped and tally.share > limit:
        report.over_limit = sentence(tally, limit, examples)


def sentence(
    tally: Tally, limit: float, examples: dict[str, str], option: str = "--max-quarantined"
) -> str:
    """Describe a quarantine above the limit: how much, why by reason, and what to do."""
    reasons = "; ".join(
        f"{count} {reason} ({_words(reason, examples)})"
        for reason, count in tally.reasons.most_common()
    )
    return (
        f"{tally.reasons.total()} of {tally.num_rows} rows are in quarantine "
        f"({100 * tally.share:.3g} %; at most {100 * limit:.3g} % are accepted): {reasons}. Fix "
        f"the cause and retry them, or accept them with {option} {_above(tally.share)}."
    )


def _above(share: float) -> str:
    """The share rounded up to whole per cent, as a value of the option."""
    return f"{min(100, int(100 * share) + 1)}%"


def _words(reason: str, examples: dict[str, str]) -> str:
    words = Reason(reason).words if reason in set(Reason) else "a reason of another version"
    return f"{words}; for example: {examples[reason]}" if reason in examples else words


def _planned(manifest: Manifest, shards: Sequence[Shard]) -> Tally:
    """Count the rows of committed shards after their latest attempt."""
    tally = Tally()
    for shard in shards:
        attempts = list(_attempts(manifest, shard))
        for entry in attempts:
            latest = entry is attempts[-1]
            tally.add(shard.table, entry.rows.num_rows, entry.counts if latest else {})
    return tally


def _attempts(manifest: Manifest, shard: Shard) -> Iterator[Entry]:
    """Yield the entries of a shard and of its retries, in order."""
    entry = manifest.entry(shard)
    while entry is not None:
        yield entry
        if entry.quarantine is None:
            return
        entry = manifest.entry(entry.shard.model_copy(update={"retry": entry.shard.retry + 1}))


def _examples(manifest: Manifest, shards: Sequence[Shard], tally: Tally) -> dict[str, str]:
    """The message of one quarantined row per reason, the latest shards first."""
    found: dict[str, str] = {}
    for shard in reversed(shards):
        if found.keys() >= tally.reasons.keys():
            break
        for entry in _attempts(manifest, shard):
            if entry.quarantine is not None and set(entry.counts) - set(found):
                columns = manifest.reader(entry.quarantine).table(["reason", "message"]).to_pydict()
                for reason, message in zip(columns["reason"], columns["message"], strict=True):
                    found.setdefault(reason, " ".join(message.split()))
    return found
