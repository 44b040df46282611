"""Images, depth maps and timestamps in a KITTI folder.

<date>/<date>_drive_<n>_sync/image_02/{data/<frame>.png,timestamps.txt}     raw
{train,val}/<drive>/proj_depth/{groundtruth,velodyne_raw}/image_02/<frame>.png     depth
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.splits import NO_SPLIT

DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_[A-Za-z0-9]+_sync")
_DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
_IMAGE = re.compile(r"(\d{10})\.(png|jpg)")
_SOURCE_ID = re.compile(rf"{_DATE.pattern}/({DRIVE.pattern})/(image_0[0-3])/(\d{{10}})")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?")
NOMINAL_STEP_US = 100_000  # 10 Hz
MAX_TIMESTAMPS_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, order=True)
class FrameName:
    """Name of an image: its drive, its number and its camera ("image_02")."""

    drive: str
    number: int
    camera: str

    @property
    def date(self) -> str:
        """Recording date, which identifies the calibration."""
        return self.drive[:10]

    @property
    def drive_folder(self) -> str:
        """Folder of the drive, relative to the root."""
        return f"{self.date}/{self.drive}"

    @property
    def source_id(self) -> str:
        """Name as text: <date>/<drive>/image_02/<frame>."""
        return f"{self.drive_folder}/{self.camera}/{self.number:010d}"

    @staticmethod
    def parse(source_id: str) -> "FrameName":
        """Parse a source_id; raises DamagedInput(BAD_RECORD)."""
        match = _SOURCE_ID.fullmatch(source_id)
        if match is None:
            raise DamagedInput(Reason.BAD_RECORD, f"found {source_id[:120]!r}, not a KITTI frame")
        return FrameName(match[1], int(match[3]), match[2])

    def moved(self, step: int) -> "FrameName":
        """Name of the same camera's image `step` frames later."""
        return FrameName(self.drive, self.number + step, self.camera)

    def seen_by(self, camera: str) -> "FrameName":
        """Name of another camera's image at the same time."""
        return FrameName(self.drive, self.number, camera)


def find_drives(files: Files) -> Sequence[str]:
    """Names of the raw drives below <date> folders, sorted."""
    dates = [name for name in folder_names(files, "") if _DATE.fullmatch(name)]
    names = ((date, name) for date in dates for name in folder_names(files, date))
    return sorted(n for date, n in names if DRIVE.fullmatch(n) and n.startswith(date))


def find_images(files: Files, drive: str, camera: str) -> Mapping[FrameName, str] | None:
    """File names of a camera's images, relative to the root; None if their folder is absent."""
    folder = f"{drive[:10]}/{drive}/{camera}/data"
    if camera not in folder_names(files, f"{drive[:10]}/{drive}"):
        return None
    names = ((_IMAGE.fullmatch(name), name) for name in sorted(folder_names(files, folder)))
    # A PNG sorts after the JPEG that was converted from it, so it replaces the JPEG.
    return {FrameName(drive, int(m[1]), camera): f"{folder}/{name}" for m, name in names if m}


def find_image(files: Files, name: FrameName) -> str | None:
    """File name of one image, relative to the root; None if it is absent."""
    images = find_images(files, name.drive, name.camera) or {}
    return images.get(name)


def find_depth_maps(
    files: Files, drives: Sequence[str], kind: str, cameras: Sequence[str]
) -> Mapping[FrameName, tuple[str, str]]:
    """Maps of KITTI-depth: file name and part ("train", "val", "none") by frame.

    `kind` is "groundtruth" or "velodyne_raw". Copies that merge train and val into the root or into
    the raw drives are found, too.
    """
    places = [(base, base) for base in ("train", "val")] + [("", NO_SPLIT)]
    folders = [
        (name, f"{base}/{name}".lstrip("/"), split)
        for base, split in places
        for name in sorted(folder_names(files, base))
        if DRIVE.fullmatch(name)
    ]
    folders += [(drive, f"{drive[:10]}/{drive}", NO_SPLIT) for drive in drives]
    found: dict[FrameName, tuple[str, str]] = {}
    for drive, folder, split in folders:
        for camera in cameras:
            inside = f"{folder}/proj_depth/{kind}/{camera}"
            for name in sorted(folder_names(files, inside)):
                if match := _IMAGE.fullmatch(name):
                    key = FrameName(drive, int(match[1]), camera)
                    found.setdefault(key, (f"{inside}/{name}", split))
    return found


def read_timestamps(files: Files, folder: str) -> Sequence[int | None] | None:
    """Read <folder>/timestamps.txt: times in microseconds by frame number; None if it is absent.

    KITTI has local times without a zone, which are read as UTC. An invalid line gives None; an
    unreadable file gives no times, so each of its frames counts as damaged.
    """
    try:
        text = files.read_text(f"{folder}/timestamps.txt", MAX_TIMESTAMPS_BYTES)
    except DamagedInput as error:
        return None if error.reason is Reason.MISSING_FILE else []
    return [_time_us(line.strip()) for line in text.splitlines()]


def nominal_time_us(name: FrameName) -> int:
    """Nominal time of a frame: midnight of its date, plus its number at 10 Hz."""
    midnight = datetime.strptime(name.date, "%Y_%m_%d").replace(tzinfo=UTC)
    return int(midnight.timestamp()) * 1_000_000 + name.number * NOMINAL_STEP_US


def folder_names(files: Files, folder: str) -> Sequence[str]:
    """Names in a folder below the root, none if it is absent; raises DamagedInput if unsafe."""
    path = files.path(folder) if folder else files.root
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def shorten(names: Iterator[str] | Sequence[str], limit: int = 3) -> str:
    """List the first few names, with an ellipsis for the rest."""
    names = list(names)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _time_us(line: str) -> int | None:
    match = _TIME.fullmatch(line)
    if match is None:
        return None
    try:
        whole = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # such as a 13th month
        return None
    time_us = int(whole.timestamp()) * 1_000_000 + int((match[2] or "0").ljust(9, "0")) // 1000
    return time_us if time_us > 0 else None
