"""Listing of a described folder: its pictures, and what belongs to each by name."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from nightrain.datasets.errors import BrokenSource, DamagedInput, UnreadableFile
from nightrain.datasets.io.pairing import Name, Pairing, name_of, pair
from nightrain.datasets.io.regular import names_below
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.folder.description import ByFolder, Description

MAX_LIST_BYTES = 64 << 20
MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures of a folder by source id, which is the path without suffix."""

    pictures: Mapping[str, Sequence[str]]  # files; more than one is an error of this picture
    depth: Pairing  # depth map by source id
    intrinsics: Pairing  # calibration file by source id
    notes: tuple[str, ...]


def read_listing(files: Files, description: Description) -> Listing:
    """List the pictures and pair them with their files; raises BrokenSource."""
    paths = _paths(files)
    maps = matching(paths, description.depth.files) if description.depth else ()
    pictures: dict[str, list[str]] = defaultdict(list)
    for path in sorted({*matching(paths, description.pictures)} - {*maps}):
        pictures[str(PurePosixPath(path).with_suffix(""))].append(path)
    if not pictures:
        raise BrokenSource(
            f"no file below {files.root} matches `pictures: {description.pictures}`; "
            f"{_found(paths)}. Correct the pattern; `**/` stands for any number of folders"
        )
    names = {key: [name_of(f"{key}.x")] for key in sorted(pictures)}
    notes: list[str] = []

    def paired(pattern: str | None, what: str) -> Pairing:
        if pattern is None:
            return Pairing()
        found = matching(paths, pattern)
        if not found:
            raise BrokenSource(
                f"no file below {files.root} matches {pattern!r}, the {what} files; "
                f"{_found(paths)}. Correct the pattern, or leave it out"
            )
        result = pair({path: name_of(path) for path in found}, names)
        notes.extend(_notes(result, names, what))
        return result

    depth = paired(description.depth and description.depth.files, "depth")
    intrinsics = paired(description.intrinsics.files, "intrinsics")
    return Listing(dict(sorted(pictures.items())), depth, intrinsics, tuple(notes))


def matching(paths: Sequence[str], pattern: str) -> list[str]:
    """Paths that match a pattern whole: `*` and `?` within a name, `**/` any folders."""
    parts = re.split(r"(\*\*/|\*|\?)", pattern.removeprefix("./"))
    known = {"**/": "(?:.+/)?", "*": "[^/]*", "?": "[^/]"}
    expression = re.compile("".join(known.get(part, re.escape(part)) for part in parts))
    return [path for path in paths if expression.fullmatch(path)]


def assigned(
    files: Files, rule: ByFolder | str, pictures: Sequence[str], default: str
) -> Mapping[str, str]:
    """Value of each picture by a rule, which is one value, or folders and lists.

    Raises BrokenSource for a list that cannot be read or names something else than one picture,
    and for a picture with two values.
    """
    if isinstance(rule, str):
        return dict.fromkeys(pictures, rule)
    values: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        folders = f"/{PurePosixPath(picture).parent}/"
        values[picture] |= {
            v for name, v in rule.folders.items() if f"/{name.strip('/')}/" in folders
        }
    for value, file in rule.lists.items():
        for picture in _listed(files, file, pictures):
            values[picture].add(value)
    for picture, found in values.items():
        if len(found) > 1:
            raise BrokenSource(
                f"the picture {picture} is {' and '.join(sorted(found))} by its folders and lists; "
                "expected one. Correct the description"
            )
    otherwise = rule.otherwise or default
    return {picture: next(iter(values[picture]), otherwise) for picture in pictures}


def _listed(files: Files, file: str, pictures: Sequence[str]) -> list[str]:
    """Pictures that the lines of a text file name, by stem or by path, with or without suffix."""
    try:
        lines = files.read_text(file, MAX_LIST_BYTES).split("\n")
    except DamagedInput as error:
        raise BrokenSource(f"the list {file} cannot be read: {error}") from error
    wanted = {line.strip() for line in lines if line.strip()}
    return list(resolve(sorted(wanted), pictures, file).values())


def resolve(names: Sequence[str], pictures: Sequence[str], file: str) -> Mapping[str, str]:
    """Picture that each name in a file stands for; raises BrokenSource for none or several."""
    ends: dict[Name, list[str]] = defaultdict(list)
    for picture in pictures:
        parts = PurePosixPath(picture).parts
        for start in range(len(parts)):
            ends[parts[start:]].append(picture)
    found = {}
    for name in names:
        whole = PurePosixPath(name.replace("\\", "/")).parts
        hits = ends.get(whole) or ends.get(name_of(name.replace("\\", "/"))) or []
        if len(hits) != 1:
            raise BrokenSource(
                f"{file} names {name!r:.120}, which is {len(hits) or 'none'} of the "
                f"{len(pictures)} pictures{_shown(hits)}; expected one. Correct the line, or write "
                "more of the path"
            )
        found[name] = hits[0]
    return found


def _paths(files: Files) -> list[str]:
    start = len(str(files.root)) + 1
    try:
        return [path[start:] for path in names_below(str(files.root))]
    except UnreadableFile as error:
        raise BrokenSource(str(error)) from error


def _found(paths: Sequence[str]) -> str:
    return f"found {len(paths)} files{_shown(paths)}"


def _shown(names: Sequence[str]) -> str:
    if not names:
        return ""
    return ", such as " + ", ".join(names[:MOST_SHOWN])


def _notes(pairing: Pairing, names: Mapping[str, object], what: str) -> list[str]:
    """Sentences about files and pictures without a partner."""
    bad = {*pairing.doubled, *(t for targets in pairing.unclear.values() for t in targets)}
    alone = [key for key in names if key not in pairing.found and key not in bad]
    said = []
    if pairing.unmatched:
        count = len(pairing.unmatched)
        said.append(f"{count} {what} files fit no picture{_shown(pairing.unmatched)}: ignored")
    if alone:
        said.append(f"{len(alone)} of {len(names)} pictures have no {what} file{_shown(alone)}")
    return said
