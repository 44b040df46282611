"""nuScenes tables, checked before nuscenes-devkit indexes them.

The devkit opens the files that the tables name and fails at the first dangling token. The tables
are therefore read here, and records that would make it fail are rejected with a reason.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightrain.datasets.deferred_import import deferred_imports
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.regular import matching
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.nuscenes.config import UNFINISHED_WORLD

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

Record = dict[str, Any]

NEEDED = ("sensor", "calibrated_sensor", "ego_pose", "scene", "sample", "sample_data")
OPTIONAL = ("log",)  # names of drives
# For the objects that a camera sees. Blobs of the data set come without them, and depth needs none.
BOXES = ("visibility", "category", "instance", "sample_annotation")
BOX_FIELDS = frozenset(  # of sample_annotation, which has more than a million records
    [
        "token",
        "sample_token",
        "instance_token",
        "visibility_token",
        "translation",
        "size",
        "rotation",
    ]
)
NOT_READ = ("attribute", "map")
MAX_TABLE_BYTES = 4 << 30  # sample_data.json of v1.0-trainval is more than 1 GB
LIDAR = "LIDAR_TOP"

# Fields that the devkit and this reader use, parents first: field -> table of its token, or None.
LINKS: dict[str, dict[str, str | None]] = {
    "sensor": {"channel": None, "modality": None},
    "calibrated_sensor": {"sensor_token": "sensor"},
    "ego_pose": {},
    "scene": {"name": None},
    "sample": {"scene_token": "scene"},
    "sample_data": {
        "calibrated_sensor_token": "calibrated_sensor",
        "ego_pose_token": "ego_pose",
        "sample_token": "sample",
    },
    "category": {"name": None},
    "instance": {"category_token": "category"},
    "sample_annotation": {"sample_token": "sample", "instance_token": "instance"},
}
REASONS = {
    "sensor": Reason.BAD_CALIBRATION,
    "calibrated_sensor": Reason.BAD_CALIBRATION,
    "ego_pose": Reason.BAD_POSE,
}


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """Rejected sample_data record: it cannot become a frame, for the stated reason."""

    record: Record
    reason: Reason
    message: str

    def error(self) -> DamagedInput:
        """Error to raise when the record is loaded."""
        return DamagedInput(self.reason, self.message)


@dataclass(slots=True)
class Tables:
    """Checked records by table, for the devkit; `rejected` holds bad sample_data by token."""

    records: dict[str, list[Record]]
    rejected: dict[str, RejectedRecord] = field(default_factory=dict)
    miscounted: frozenset[str] = frozenset()  # tokens of samples with a rejected box
    notes: tuple[str, ...] = ()  # tables that cannot be read and are not needed

    def index(self, table: str) -> dict[str, Record]:
        """Records of a table by token."""
        return {record["token"]: record for record in self.records[table]}


def read_tables(files: Files, version: str, channels: Collection[str]) -> Tables:
    """Read and check the tables of a version folder; raises BrokenSource.

    Of sample_data, only records of `channels` (empty: all) and LiDAR keyframes are kept.
    """
    _check_layout(files, version)
    tables = Tables({table: [] for table in (*OPTIONAL, *BOXES, *NOT_READ)})
    for table in (*NEEDED, *OPTIONAL):
        if table in NEEDED or os.path.lexists(files.root / version / f"{table}.json"):
            tables.records[table] = _read_table(files, version, table)
    _read_boxes(tables, files, version)
    set_aside: dict[str, dict[str, RejectedRecord]] = {}
    for table in LINKS:
        set_aside[table] = _sift(tables, table)
        if table == "calibrated_sensor":
            _keep_channels(tables, channels)
    tables.rejected = set_aside["sample_data"]
    boxes = (rejected.record for rejected in set_aside["sample_annotation"].values())
    tables.miscounted = frozenset(str(record.get("sample_token")) for record in boxes)
    return tables


def open_devkit(root: Path, version: str, tables: Tables) -> "NuScenes":
    """Construct nuscenes-devkit from tables that have been read and checked; it opens no file."""
    with deferred_imports("sklearn", "sklearn.metrics"):
        from nuscenes.nuscenes import NuScenes  # takes a second: it imports matplotlib

    class CheckedNuScenes(NuScenes):
        @property
        def table_root(self) -> str:
            # Not a folder but a file, so the devkit finds no optional table (lidarseg, panoptic,
            # image_annotations): those are neither checked nor needed.
            return str(root / version / "sample.json")

        def __load_table__(self, table_name: str) -> list[Record]:  # type: ignore[override]
            # The devkit looks up the map of each log, and there are no maps.
            return [] if table_name == "log" else tables.records[table_name]

        def __make_reverse_index__(self, verbose: bool) -> None:
            self.map = [{"token": "", "log_tokens": []}]  # it looks at the first one
            super().__make_reverse_index__(verbose)
            self.map = []

    return CheckedNuScenes(version=version, dataroot=str(root), verbose=False)


def channel_in_name(record: Mapping[str, Any]) -> str:
    """Return the channel in a file name such as samples/CAM_FRONT/x.jpg, or ""."""
    parts = str(record.get("filename", "")).split("/")
    return parts[1] if len(parts) == 3 and parts[0] in ("samples", "sweeps") else ""


def _check_layout(files: Files, version: str) -> None:
    root = files.root
    if not root.is_dir():
        raise BrokenSource(f"there is no folder {root}; pass the folder that contains samples/")
    try:
        if "/" in version or not files.path(version).is_dir():
            raise DamagedInput(Reason.UNSAFE_PATH, f"{version!r} is not a folder there")
    except DamagedInput as error:
        _refuse_unfinished_world(root)
        found = [p.name for p in matching(root, "*") if (p / "sample_data.json").is_file()]
        raise BrokenSource(
            f"no tables {version!r} in {root} ({error}); found versions: {found or 'none'}. "
            "Expected ROOT/VERSION/*.json, ROOT/samples/, ROOT/sweeps/"
        ) from error
    missing = [t for t in NEEDED if not os.path.lexists(root / version / f"{t}.json")]
    if missing:
        raise BrokenSource(
            f"{version} lacks {', '.join(f'{t}.json' for t in missing)}; expected at least "
            f"{', '.join(f'{t}.json' for t in NEEDED)} in {root / version}: unpack the metadata "
            "archive there again"
        )


def _refuse_unfinished_world(root: Path) -> None:
    if (root / UNFINISHED_WORLD).is_dir():
        num_done = len(matching(root / UNFINISHED_WORLD, "world-*"))
        raise BrokenSource(
            f"{root} is an unfinished world: {num_done} scenes are rendered, and the tables are "
            f"missing. Run `nightrain world --out {root}` with the same options to finish it"
        )


def _read_table(files: Files, version: str, table: str) -> list[Record]:
    name = f"{version}/{table}.json"
    try:
        records = json.loads(files.read(name, MAX_TABLE_BYTES))
    except (DamagedInput, ValueError, RecursionError) as error:
        raise BrokenSource(f"table {name} cannot be read: {error}; unpack it again") from error
    if not isinstance(records, list):
        raise BrokenSource(f"table {name} holds a {type(records).__name__}; expected a list")
    return list(_with_tokens(table, records))


def _read_boxes(tables: Tables, files: Files, version: str) -> None:
    """Read the tables of boxes where all are there; if one cannot be read, leave a note."""
    if not all(os.path.lexists(files.root / version / f"{table}.json") for table in BOXES):
        return
    try:
        read = {table: _read_table(files, version, table) for table in BOXES}
    except BrokenSource as error:
        tables.notes = (f"{error}; until then, no frame has `objects`",)
        return
    boxes = read["sample_annotation"]
    read["sample_annotation"] = [{k: box[k] for k in BOX_FIELDS if k in box} for box in boxes]
    tables.records |= read


def _with_tokens(table: str, records: list[Any]) -> Iterator[Record]:
    for number, record in enumerate(records):
        if isinstance(record, dict) and _is_text(record.get("token")):
            yield _with_slashes(record)
        elif table == "sample_data":  # stays listed, under a unique name
            fields = record if isinstance(record, dict) else {}
            yield {**fields, "token": f"sample_data[{number}]", "sample_token": None}
        elif table not in LINKS:
            raise BrokenSource(
                f"record {number} of table {table}.json is not an object with a token: "
                f"{str(record)[:80]}; unpack the table again"
            )


def _with_slashes(record: Record) -> Record:
    """A record whose file name was written on Windows gets slashes, as all others have."""
    name = record.get("filename")
    if isinstance(name, str) and "\\" in name:
        return {**record, "filename": name.replace("\\", "/")}
    return record


def _keep_channels(tables: Tables, channels: Collection[str]) -> None:
    sensors = tables.index("sensor")
    channel_of = {
        record["token"]: sensors[record["sensor_token"]]["channel"]
        for record in tables.records["calibrated_sensor"]
    }

    def wanted(record: Record) -> bool:
        token = record.get("calibrated_sensor_token")
        channel = channel_of.get(token) if _is_text(token) else None
        if channel == LIDAR:
            return record.get("is_key_frame") is not False
        return channel is None or not channels or channel in channels

    tables.records["sample_data"] = [r for r in tables.records["sample_data"] if wanted(r)]


def _sift(tables: Tables, table: str) -> dict[str, RejectedRecord]:
    """Remove the invalid records of a table and return them by token."""
    parents = {parent: tables.index(parent) for parent in LINKS[table].values() if parent}
    count: dict[str, int] = {}
    for record in tables.records[table]:
        count[record["token"]] = count.get(record["token"], 0) + 1
    kept, rejected = [], {}
    for record in tables.records[table]:
        bad = _problem(table, record, parents)
        if bad is None and count[record["token"]] > 1:
            bad = RejectedRecord(
                record, REASONS.get(table, Reason.BAD_RECORD), _where(table, record)
            )
        if bad is None:
            kept.append(record)
        else:
            rejected[record["token"]] = bad
    tables.records[table] = kept
    return rejected


def _problem(
    table: str, record: Record, parents: dict[str, dict[str, Record]]
) -> RejectedRecord | None:
    for name, parent in LINKS[table].items():
        value = record.get(name)
        if not _is_text(value):
            reason = REASONS.get(table, Reason.BAD_RECORD)
            return RejectedRecord(
                record, reason, f"{_where(table, record)}: {name} is {value!r:.60}"
            )
        if parent and value not in parents[parent]:
            message = (
                f"{_where(table, record)}: {name} {value:.40} refers to a {parent} record that is "
                "missing, repeated or broken"
            )
            return RejectedRecord(record, REASONS.get(parent, Reason.BAD_RECORD), message)
    if table == "sample_data" and not isinstance(record.get("is_key_frame"), bool):
        message = f"{_where(table, record)}: is_key_frame is neither true nor false"
        return RejectedRecord(record, Reason.BAD_RECORD, message)
    return None


def _where(table: str, record: Record) -> str:
    return f"record {record['token']:.40} of table {table}.json"


def _is_text(value: object) -> bool:
    # Control characters, and the lone surrogates that JSON can contain, are not printable.
    return isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()
