"""Run: executes a shard plan and reports what was committed."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import require_free, require_writable
from nightrain.datasets.shards.frame_plan import BadFrame
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ShardWork, ignore_rows
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.runs.executors import Executor, run_plan
from nightrain.pipelines.runs.stop import Stop


class TableReport(BaseModel):
    """Rows that a run committed to one table."""

    num_shards: int = 0
    num_rows: int = 0
    num_bytes: int = 0
    seconds: float = 0.0
    quarantined: dict[str, int] = {}
    latest: Shard | None = None  # the last shard that was committed


class RunReport(BaseModel):
    """Outcome of a run: committed tables, and frames that were skipped, failed or quarantined."""

    tables: dict[str, TableReport] = {}
    inputs: dict[str, TableReport] = {}  # tables that the run made first, such as control maps
    num_already: int = 0  # planned shards that were committed before
    skipped: dict[str, int] = {}  # number of frames left out on purpose, by reason
    failed: list[str] = []
    over_limit: str = ""  # why more rows are in quarantine than accepted; see quarantine.py
    stopped: bool = False
    budget_spent: str = ""  # what a run made of its budget, and what is left; see budget/
    num_kept: int = 0  # finished rows of interrupted shards, which the next run continues
    num_left: int = 0  # rows of planned shards that an interrupted run did not commit
    not_started: str = ""  # why the run was skipped; see one_run.py
    bad_frames: list[BadFrame] = []  # selected frames in quarantine now, from this run or earlier
    unplaced: list[str] = []  # names of records too damaged to list as frames
    warnings: list[str] = []

    @property
    def num_rows(self) -> int:
        """Rows that this run committed."""
        return sum(table.num_rows for table in self.tables.values())

    @property
    def num_quarantined(self) -> int:
        """Rows that this run quarantined."""
        return sum(sum(table.quarantined.values()) for table in self.tables.values())

    def end_of_budget(self, budget: str, rows: str) -> None:
        """Record that a spent budget ended the run, not a person, unless nothing is left."""
        self.stopped = False
        if self.num_left:
            kept = f", {self.num_kept:,} of them finished and kept" if self.num_kept else ""
            self.budget_spent = (
                f"Budget spent ({budget}): {self.num_rows:,} {rows} committed, {self.num_left:,} "
                f"left{kept}. Run the same command again to continue."
            )

    def add(self, report: ShardReport) -> None:
        """Add the outcome of one shard."""
        if report.status == "failed":
            self.failed.append(f"{report.shard.name}: {report.message}")
        elif report.status == "already":
            self.num_already += 1
        elif report.status == "stopped":
            self.num_kept += report.num_rows
        elif report.status == "committed":
            table = self.tables.setdefault(report.shard.table, TableReport())
            table.num_shards += 1
            table.num_rows += report.num_rows
            table.num_bytes += report.num_bytes
            table.seconds += report.seconds
            table.latest = report.shard
            table.quarantined = dict(Counter(table.quarantined) + Counter(report.quarantined))


def _lost_files(root: Path, committed: dict[Shard, Entry]) -> Iterator[str]:
    """Yield a sentence per committed file that is not there.

    It is not made again on its own: a disk that is not mounted would cost every shard.
    """
    for path, problem in lost_files(root, committed.values()):
        yield f"{path}: {problem}. Mount its disk, or run `nightrain repair {root}`"


def run(
    root: Path,
    shards: Collection[Shard],
    work: ShardWork,
    *,
    executor: Executor,
    stop: Stop,
    num_rows: Mapping[Shard, int] | None = None,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
    report: RunReport | None = None,
) -> RunReport:
    """Run a shard plan: sweep leftovers, make the missing shards, and add them to the report.

    With `num_rows`, the planned rows of each shard, `on_planned` is called once with the number of
    rows in missing shards, before `on_rows` is called with the count of each batch that is done.
    Raises InvalidRequest if shards are missing and the dataset cannot be written; DiskFull.
    """
    manifest, report = Manifest(root), report or RunReport()
    done, frames = manifest.committed(shards), manifest.entries(FRAMES)
    committed = {entry.shard.name for entry in done}
    missing = [shard for shard in shards if shard.name not in committed]
    on_planned(sum(num_rows[shard] for shard in missing) if num_rows else 0)
    report.num_already += len(done)
    report.failed += _lost_files(root, {entry.shard: entry for entry in (*frames, *done)})
    try:
        require_writable(root)
    except InvalidRequest:
        if missing:
            raise
        return report  # a read-only dataset with nothing left to make
    manifest.sweep()
    if missing:
        require_free(root, 2 * max((entry.rows.num_bytes for entry in frames), default=0))
        for shard_report in run_plan(manifest, missing, work, executor, stop, on_rows):
            report.add(shard_report)
        manifest.sweep()  # leftovers of processes that died during this run
    report.stopped = stop.requested
    if report.stopped and num_rows:
        there = {entry.shard.name for entry in manifest.committed(missing)}
        report.num_left += sum(num_rows[shard] for shard in missing if shard.name not in there)
    return report
