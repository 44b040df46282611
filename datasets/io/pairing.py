"""Pairing of files by name: which file belongs to which picture, and which names are unclear."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

Name = tuple[str, ...]  # folders and stem: ("seq1", "left", "0001")


@dataclass(frozen=True, slots=True)
class Pairing:
    """Result of `pair`: one file per target, and everything that is not one to one."""

    found: dict[str, str] = field(default_factory=dict)  # file of each target
    doubled: dict[str, list[str]] = field(default_factory=dict)  # files of a target with several
    unclear: dict[str, list[str]] = field(default_factory=dict)  # targets of a file with several
    unmatched: list[str] = field(default_factory=list)  # files that fit no target


def name_of(path: str) -> Name:
    """Folders and stem of a relative path with slashes; only the last suffix is dropped."""
    pure = PurePosixPath(path)
    return (*pure.parent.parts, pure.stem)


def pair(files: Mapping[str, Name], targets: Mapping[str, Sequence[Name]]) -> Pairing:
    """Pair files with targets of the same stem that share the most folders.

    A target may have several names. `a/rgb/0001` takes `a/depth/0001` rather than `b/depth/0001`,
    and a file `0001` alone is unclear if both `a/rgb/0001` and `b/rgb/0001` are targets.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for file, name in files.items():
        by_stem[name[-1]].append(file)
    result, takers = Pairing(), defaultdict[str, list[str]](list)
    for target, names in targets.items():
        nearest = _nearest(files, by_stem, names)
        for file in nearest:
            takers[file].append(target)
        if len(nearest) > 1:
            result.doubled[target] = nearest
        elif nearest:
            result.found[target] = nearest[0]
    for file, of in takers.items():
        if len(of) > 1:
            result.unclear[file] = of
            for target in of:
                result.found.pop(target, None)
    # A file that is farther away than another one is no error, but it belongs to nothing.
    result.unmatched.extend(file for file in files if file not in takers)
    return result


def _nearest(
    files: Mapping[str, Name], by_stem: Mapping[str, list[str]], names: Sequence[Name]
) -> list[str]:
    """Files with the stem of one of the names that share the most folders with it."""
    shared: dict[str, int] = {}
    for *folders, stem in names:
        for file in by_stem.get(stem, ()):
            count = len({*folders} & {*files[file][:-1]})
            shared[file] = max(count, shared.get(file, 0))
    most = max(shared.values(), default=0)
    return [file for file, count in shared.items() if count == most]
