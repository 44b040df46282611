"""RobotCar traverse: one drive with its images, trajectory and laser scans."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.robotcar.lms import LMS, LmsScans, read_times_us
from nightrain.datasets.sources.robotcar.poses import Trajectory, read_trajectory
from nightrain.datasets.sources.robotcar.splits import SplitEntry

NAME = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d")
Found = TypeVar("Found")
IMAGE = re.compile(r"(\d{1,18})\.png")
MAX_NEIGHBOUR_GAP_US = 250_000  # images come every 62.5 ms (stereo) or 90 ms (mono)


@dataclass(frozen=True, eq=False)
class Traverse:
    """Files of one drive; each is read on first use."""

    files: Files
    name: str  # "2014-12-09-13-21-02"
    camera: str  # "stereo/left"
    times_name: str  # "stereo"
    condition: Condition
    description: str
    T_vehicle_ins: np.ndarray  # (4, 4) metres
    T_vehicle_laser: np.ndarray  # (4, 4) metres
    entries: Mapping[int, SplitEntry] | None  # by timestamp; None: without split files
    prefer_rgb: bool

    @cached_property
    def folder(self) -> str:
        """Folder of the images: <camera>, or <camera>_rgb, which contains undistorted ones."""
        names = [f"{self.name}/{self.camera}", f"{self.name}/{self.camera}_rgb"]
        if self.prefer_rgb:
            names.reverse()
        return next((n for n in names if self.files.path(n).is_dir()), names[0])

    @cached_property
    def images_us(self) -> np.ndarray:
        """Times (N,) int64 in microseconds of the images in the folder, sorted."""
        try:
            names = os.listdir(self.files.path(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            names = []
        times = [int(match[1]) for name in names if (match := IMAGE.fullmatch(name))]
        return np.unique(np.array(times, np.int64))

    @cached_property
    def listed(self) -> Mapping[int, SplitEntry]:
        """Entries of all listed images by time.

        The split files list the images; without them, <camera>.timestamps and the folder do. Raises
        BrokenSource for a damaged list.
        """
        if self.entries is not None:
            return self.entries
        try:
            named = read_times_us(self.files, f"{self.name}/{self.times_name}.timestamps")
        except DamagedInput as error:
            if error.reason is not Reason.MISSING_FILE:
                raise BrokenSource(f"traverse {self.name}: {error}") from error
            named = np.zeros(0, np.int64)
        times = np.union1d(named, self.images_us)
        return {int(time_us): SplitEntry() for time_us in times}

    @property
    def trajectory(self) -> Trajectory | None:
        """Vehicle trajectory; None without odometry and INS; raises DamagedInput."""
        return _value(self._trajectory)

    @property
    def scans(self) -> LmsScans | None:
        """Scans of the front laser; None if its folder is absent; raises DamagedInput."""
        return _value(self._scans)

    @cached_property
    def _trajectory(self) -> Trajectory | DamagedInput | None:
        try:
            return read_trajectory(self.files, self.name, self.T_vehicle_ins)
        except DamagedInput as error:
            return error  # cached: it is raised for every frame of the traverse

    @cached_property
    def _scans(self) -> LmsScans | DamagedInput | None:
        if not self.files.path(f"{self.name}/{LMS}").is_dir():
            return None
        try:
            return LmsScans(self.files, self.name, self.T_vehicle_laser)
        except DamagedInput as error:
            return error

    def has_image(self, time_us: int) -> bool:
        """Whether <time>.png is in the folder."""
        row = int(np.searchsorted(self.images_us, time_us))
        return row < len(self.images_us) and int(self.images_us[row]) == time_us

    def entry(self, time_us: int) -> SplitEntry:
        """Split and neighbours of a listed image.

        The neighbours are those of its triplet, otherwise the nearest images on disk within 0.25 s.
        Raises DamagedInput for a time that is not listed.
        """
        entry = self.listed.get(time_us)
        if entry is None:
            raise DamagedInput(
                Reason.BAD_RECORD, f"traverse {self.name} lists no image at {time_us} us"
            )
        if entry.previous_us is not None:
            return entry
        row = int(np.searchsorted(self.images_us, time_us))
        after = row + 1 if self.has_image(time_us) else row
        return replace(
            entry,
            previous_us=self._near(row - 1, time_us),
            next_us=self._near(after, time_us),
        )

    def missing(self, time_us: int, *, neighbours: bool) -> str:
        """Name of an absent image that a listed frame or its triplet needs; "" if none is."""
        entry = self.listed[time_us]
        wanted = {"": time_us}
        if neighbours and entry.previous_us is not None and entry.next_us is not None:
            wanted |= {"its previous ": entry.previous_us, "its next ": entry.next_us}
        for words, other_us in wanted.items():
            if not self.has_image(other_us):
                return f"{words}{other_us}.png"
        return ""

    def _near(self, row: int, time_us: int) -> int | None:
        if not 0 <= row < len(self.images_us):
            return None
        other_us = int(self.images_us[row])
        return other_us if abs(other_us - time_us) <= MAX_NEIGHBOUR_GAP_US else None


def _value(found: Found | DamagedInput) -> Found:
    if isinstance(found, DamagedInput):
        raise DamagedInput(found.reason, str(found))
    return found
