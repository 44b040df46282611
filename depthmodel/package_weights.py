"""Weights that a Python package holds: "package:nightrain.pipelines.small_diffusion/weights".

The folder's SHA256SUMS lists every file, as `sha256sum` writes it. A file that is missing, cut,
changed or unknown is named, and nothing is loaded.
"""

import hashlib
import importlib.util
import re
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest, UnreadableFile
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.regular import files_below, read_regular
from nightrain.depthmodel.file_digest import file_digest

PREFIX = "package:"
NAME = re.compile(r"package:(?P<module>[A-Za-z_][\w.]*)(?P<folders>(/[A-Za-z0-9_-]+)*)")
SUMS = "SHA256SUMS"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[A-Za-z0-9_][A-Za-z0-9_./-]*)")
LOADED = (".safetensors", ".json", ".txt", ".model")  # suffixes of files that can be loaded
LFS_POINTER = b"version https://git-lfs"


def package_folder(name: str) -> Path:
    """Return the folder of package weights; raises InvalidRequest if it has no SHA256SUMS."""
    found = NAME.fullmatch(name)
    if found is None:
        raise InvalidRequest(
            f"{name} is not a valid name of package weights; the form is package:MODULE/FOLDER."
        )
    folder = _package(found["module"]).joinpath(*found["folders"].split("/")[1:])
    if not (folder / SUMS).is_file():
        raise InvalidRequest(
            f"{folder} has no {SUMS}: this installation does not include the weights {name}. Use a "
            "complete checkout of the repository, or name other weights in the recipe."
        )
    return folder


def package_digest(folder: Path) -> str:
    """SHA-256 of a folder's SHA256SUMS, which identifies all of its files."""
    return hashlib.sha256(_sums(folder)).hexdigest()


def check_package(folder: Path) -> None:
    """Compare all files below a folder with its SHA256SUMS.

    Raises InvalidRequest, which names the first file that differs and says how to restore it.
    """
    listed = _listed(folder)
    for name, expected in listed.items():
        if problem := _problem(folder / name, expected):
            raise InvalidRequest(f"{folder / name} {problem}")
    for path in _loadable(folder):
        if str(path.relative_to(folder)) not in listed:
            raise InvalidRequest(f"{path} is not listed in {SUMS}. Remove it.")


def write_sums(folder: Path) -> None:
    """Write the SHA256SUMS of a folder."""
    lines = [f"{file_digest(path)}  {path.relative_to(folder)}\n" for path in _loadable(folder)]
    write_whole(folder / SUMS, "".join(lines))


def _loadable(folder: Path) -> list[Path]:
    """Files below a folder that can be loaded, sorted."""
    return [path for path in files_below(folder) if path.suffix in LOADED]


def _problem(path: Path, expected: str) -> str:
    """Description of what is wrong with a file, with advice; "" if it is intact."""
    advice = f"Restore it with `git checkout -- {path}`, or clone the repository again."
    if not path.is_file():
        return f"is missing. {advice}"
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return "is a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`."
    if (digest := file_digest(path)) != expected:
        return (
            f"was cut or changed: its {path.stat().st_size} bytes have SHA-256 {digest[:12]}..., "
            f"expected {expected[:12]}... ({SUMS}). {advice}"
        )
    return ""


def _package(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise InvalidRequest(f"The Python package {module} is not installed. It holds weights.")
    return Path(spec.origin).resolve().parent


def _listed(folder: Path) -> dict[str, str]:
    """Expected SHA-256 by relative path."""
    found = {}
    for line in _sums(folder).decode(errors="replace").splitlines():
        match = LINE.fullmatch(line)
        if match is None or ".." in match["name"].split("/"):
            raise InvalidRequest(f"{folder / SUMS} has an invalid line: {line[:100]!r}.")
        found[match["name"]] = match["digest"]
    return found


def _sums(folder: Path) -> bytes:
    try:
        return read_regular(folder / SUMS)
    except (FileNotFoundError, UnreadableFile) as error:
        raise InvalidRequest(f"{folder / SUMS} cannot be read: {error}") from error
