"""KITTI splits: lists of frames in the formats of monodepth and BTS.

    2011_09_26/2011_09_26_drive_0002_sync 69 l
    2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png <depth png | None> 721.5377

Eigen et al. (NIPS 2014) test on 697 frames of 28 drives. 652 of them have improved ground truth;
KITTI-depth lacks it for the first and the last five frames of a drive.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import BrokenSource, DamagedInput
from nightrain.datasets.io.untrusted import NO_LINKS, Checksums, Files, LinkRule
from nightrain.datasets.sources.kitti.drives import DRIVE, FrameName, folder_names

NUM_EIGEN_TEST = 697
NUM_EIGEN_IMPROVED = 652
MAX_LIST_BYTES = 32 << 20  # the longest published list has 6 MB

_LIST = re.compile(r"(?:kitti_)?(?:eigen_)?(train|val|test)_files(?:_with_gt)?\.txt")
_PATH = re.compile(
    rf"(?:\w+/)*(?P<drive>{DRIVE.pattern})/(?P<camera>image_0[0-3])"
    r"/data/(?P<number>\d{10})\.(?:png|jpg)"
)
_FOLDER = re.compile(rf"\d{{4}}_\d{{2}}_\d{{2}}/(?P<drive>{DRIVE.pattern})")
_SIDES = {"l": "image_02", "r": "image_03", "2": "image_02", "3": "image_03"}


@dataclass(frozen=True, slots=True)
class Listed:
    """Entry of a split list: a frame's split, and whether it has ground truth."""

    split: str
    has_depth: bool | None  # None: the list has no such column


@dataclass(frozen=True, slots=True)
class EigenCounts:
    """Numbers of listed test frames: all, and those with improved ground truth."""

    num_listed: int
    num_with_depth: int | None  # None: the improved ground truth is not in use

    @property
    def as_published(self) -> bool:
        """Whether the counts are Eigen's 697 and 652."""
        return self.num_listed == NUM_EIGEN_TEST and self.num_with_depth in (
            NUM_EIGEN_IMPROVED,
            None,
        )

    def __str__(self) -> str:
        text = f"the lists name {self.num_listed} test frames; Eigen's have {NUM_EIGEN_TEST}"
        if self.num_with_depth is None:
            return text
        return (
            f"{text}. {self.num_with_depth} have improved ground truth; "
            f"{NUM_EIGEN_IMPROVED} of Eigen's do"
        )


def read_lists(folder: Path, links: LinkRule = NO_LINKS) -> Mapping[FrameName, Listed]:
    """Read all lists in a folder; raises BrokenSource.

    Lists are `train_files.txt`, `val_files.txt`, `test_files.txt`, with or without `eigen_` before
    and `_with_gt` after. A frame may be in two lists of one split, but not in two splits.
    """
    files = Files(folder, Checksums(folder, links), links)
    matches = [m for name in sorted(folder_names(files, "")) if (m := _LIST.fullmatch(name))]
    if not matches:
        raise BrokenSource(
            f"no split file in {folder}; expected train_files.txt, val_files.txt, test_files.txt "
            "or eigen_test_files_with_gt.txt. Pass the folder that contains them"
        )
    listed: dict[FrameName, Listed] = {}
    for match in matches:
        for name, has_depth in _read_list(files, match[0]).items():
            _add(listed, name, Listed(match[1], has_depth), match[0])
    return listed


def _add(listed: dict[FrameName, Listed], name: FrameName, new: Listed, file: str) -> None:
    known = listed.get(name, new)
    if known.split != new.split:
        raise BrokenSource(
            f"{file} puts {name.source_id} into {new.split}, another list into {known.split}; "
            "a frame has only one split. Keep the lists of one protocol in the folder"
        )
    listed[name] = known if new.has_depth is None else new


def _read_list(files: Files, file: str) -> dict[FrameName, bool | None]:
    try:
        text = files.read_text(file, MAX_LIST_BYTES)
    except DamagedInput as error:
        raise BrokenSource(f"the split file {file} cannot be read: {error}") from error
    if "\ufffd" in text:
        raise BrokenSource(f"the split file {file} cannot be read: it is not UTF-8 text")
    frames: dict[FrameName, bool | None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parsed = _parse(line.replace("\\", "/").split())
        if parsed is None:
            raise BrokenSource(
                f"{file}, line {number}: {line[:120]!r}; expected '<date>/<drive> <frame> l' or "
                "'<date>/<drive>/image_02/data/<frame>.png <depth png | None> <focal>'"
            )
        frames[parsed[0]] = parsed[1]
    return frames


def _parse(words: list[str]) -> tuple[FrameName, bool | None] | None:
    if len(words) not in (2, 3):
        return None
    if match := _PATH.fullmatch(words[0]):
        name = FrameName(match["drive"], int(match["number"]), match["camera"])
        return (name, words[1] != "None") if _is_depth(words[1]) else None
    match = _FOLDER.fullmatch(words[0])
    if match is None or len(words) != 3 or not re.fullmatch(r"\d{1,10}", words[1]):
        return None
    if words[2] not in _SIDES:
        return None
    return FrameName(match["drive"], int(words[1]), _SIDES[words[2]]), None


def _is_depth(word: str) -> bool:
    return word == "None" or "/proj_depth/" in word
