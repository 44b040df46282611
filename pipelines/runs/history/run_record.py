"""Run records: what each run committed, how long it took, and who started it.

    DATASET/_runs/<start in UTC>-<digits>.json

They are for people: no reader of shards needs one. A run that made nothing leaves none, and neither
does one that was killed or ended in an error; its shards are in the manifest all the same.
"""

import getpass
import logging
import secrets
import socket
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.code_version import code_commit
from nightrain.datasets.errors import CorruptShard, NightrainError, UnreadableFile
from nightrain.datasets.io.atomic import create_exclusively
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.validation import in_one_line

FOLDER = "_runs"
flow_run_id: ContextVar[str] = ContextVar("flow_run_id", default="")  # set by a flow
logger = logging.getLogger(__name__)


class RowsOfRun(BaseModel):
    """What a run committed to one table."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    num_shards: int = 0
    num_rows: int = 0
    num_bytes: int = 0
    quarantined: dict[str, int] = {}  # rows by reason
    seconds: float = 0.0  # in which its shards were made, summed over the workers


class RunRecord(BaseModel):
    """One run: who, when, what, and how much."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer version may record more
    started_at: datetime
    ended_at: datetime
    user: str = ""
    host: str = ""
    version: str = ""  # of nightrain
    commit: str = ""  # of its repository, with "+" for uncommitted changes
    command: str
    title: str = ""  # "weather-1a2b3c4d on nuscenes"
    flow_run_id: str = ""
    recipe: str = ""
    recipe_hash: str = ""
    teacher: str = ""
    num_workers: int = 1
    tables: dict[str, RowsOfRun] = {}
    end: str = "complete"  # or "stopped", "budget spent", "2 shards failed"

    @property
    def num_rows(self) -> int:
        """Committed rows."""
        return sum(table.num_rows for table in self.tables.values())

    @property
    def num_quarantined(self) -> int:
        """Rows that went to quarantine, rejected by gates or failed."""
        return sum(sum(table.quarantined.values()) for table in self.tables.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of the committed shards, without their quarantine."""
        return sum(table.num_bytes for table in self.tables.values())

    @property
    def worker_seconds(self) -> float:
        """Time in which shards were made, summed over the workers."""
        return sum(table.seconds for table in self.tables.values())

    @property
    def seconds_per_row(self) -> float | None:
        """Worker seconds per attempted row; None if there were none."""
        attempted = self.num_rows + self.num_quarantined
        return self.worker_seconds / attempted if attempted else None


class RunHistory(NamedTuple):
    """Records by name, oldest first, and the files that cannot be read, with their problem."""

    runs: dict[str, RunRecord]
    problems: dict[str, str]


def whoami() -> dict[str, str]:
    """User, host, version and commit, as a record has them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return {
        "user": user,
        "host": socket.gethostname(),
        "version": version("nightrain"),
        "commit": code_commit(),
    }


def write_run(root: Path, record: RunRecord) -> None:
    """Write a record; what stands against it is only logged, because the work itself is done."""
    name = f"{record.started_at.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"
    body = record.model_dump(mode="json")
    try:
        create_exclusively(root, root / FOLDER / name, record_bytes("run", body))
    except (OSError, NightrainError) as error:
        logger.warning("this run was not recorded in %s: %s", root / FOLDER, error)


def read_runs(root: Path) -> RunHistory:
    """Read all records; a file that is damaged or cannot be read is named and left out."""
    runs, problems = dict[str, RunRecord](), dict[str, str]()
    try:
        paths = matching(root / FOLDER, "*.json")
    except UnreadableFile as error:
        return RunHistory({}, {FOLDER: str(error)})
    for path in paths:
        try:
            runs[path.stem] = RunRecord.model_validate(read_record(path, "run", "run record"))
        except FileNotFoundError:
            continue  # removed since it was listed
        except (CorruptShard, UnreadableFile) as error:
            problems[f"{FOLDER}/{path.name}"] = str(error)
        except ValidationError as error:
            problems[f"{FOLDER}/{path.name}"] = f"not a valid run record: {in_one_line(error)}"
    return RunHistory(dict(sorted(runs.items(), key=lambda item: item[1].started_at)), problems)
