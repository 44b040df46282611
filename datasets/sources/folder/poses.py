"""Times and poses of a described folder's pictures, from a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import BrokenSource, DamagedInput
from nightrain.datasets.geometry.projection import rigid_transform
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.folder.listing import resolve

MAX_CSV_BYTES = 256 << 20
POSE = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
TIME, PICTURE = "timestamp_us", "picture"


@dataclass(frozen=True, slots=True)
class Record:
    """Time and pose of one picture; None where the file does not say."""

    timestamp_us: int | None
    T_world_camera: np.ndarray | None  # (4, 4) float64, metres


def read_records(files: Files, name: str, pictures: Sequence[str]) -> Mapping[str, Record]:
    """Read times and poses by picture; raises BrokenSource, with the line that is wrong."""
    try:
        reader = csv.DictReader(io.StringIO(files.read_text(name, MAX_CSV_BYTES)), strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        with_time, with_pose = TIME in columns, set(POSE) <= set(columns)
        if PICTURE not in columns or not (with_time or with_pose):
            raise BrokenSource(
                f"{name} has the columns {', '.join(columns) or 'none'}; expected {PICTURE} and "
                f"{TIME}, or {', '.join(POSE)}, or all of them"
            )
        rows = list(reader)
    except (DamagedInput, csv.Error) as error:
        raise BrokenSource(f"{name} cannot be read: {error}") from error
    given = [(row[PICTURE] or "").strip() for row in rows]
    picture_of = resolve(sorted({*given}), pictures, name)
    records: dict[str, Record] = {}
    for number, (row, key) in enumerate(zip(rows, given, strict=True), start=2):
        if picture_of[key] in records:
            raise BrokenSource(f"{name}, line {number}: {key!r} is there twice; remove one line")
        try:
            records[picture_of[key]] = _record(row, with_time, with_pose)
        except (TypeError, ValueError, OverflowError) as error:
            raise BrokenSource(f"{name}, line {number}: {error}; correct the line") from error
    return records


def _record(row: Mapping[str, str], with_time: bool, with_pose: bool) -> Record:
    time_us = int(row[TIME]) if with_time else None
    if time_us is not None and not 0 <= time_us < 2**62:
        raise ValueError(f"{TIME} is {time_us}; expected microseconds since 1970")
    if not with_pose:
        return Record(time_us, None)
    values = [float(row[column]) for column in POSE]
    return Record(time_us, rigid_transform(values[:3], values[3:]))
