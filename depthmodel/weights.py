"""Model weights: a local folder or file, a Python package's or a hub model, found before loading.

Call `resolve` and pass `Found.folder` to `from_pretrained`. A missing model then gives a
one-sentence error instead of a traceback, nothing is fetched offline, and the loaded weights have a
name that identifies their bytes.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.io.regular import files_below
from nightrain.depthmodel.file_digest import file_digest
from nightrain.depthmodel.package_weights import (
    PREFIX,
    check_package,
    package_digest,
    package_folder,
)

PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")  # no pickles, no other frameworks
PICKLES = (".ckpt", ".pt", ".pth", ".bin")  # can run code
FILES = (".safetensors", *PICKLES)
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
MAX_INDEX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Weights:
    """Model weights by hub id, local folder, single file or Python package."""

    # "Salesforce/blip2-opt-2.7b" | "/models/blip2" | "/models/a.safetensors" | "package:a.b/folder"
    id_or_folder: str
    # A commit of 40 hex digits. None: "main" in the local cache of the hub; it is identified by its
    # commit and never fetched, as it may change from day to day.
    revision: str | None = None
    subfolder: str = ""  # inside the model: "unet"

    @property
    def in_package(self) -> bool:
        """Whether a Python package holds them."""
        return self.id_or_folder.startswith(PREFIX)

    @property
    def is_file(self) -> bool:
        """Whether this is the path of a single file of weights."""
        return not self.in_package and self.id_or_folder.lower().endswith(FILES)

    @property
    def is_folder(self) -> bool:
        """Whether this is the path of a folder rather than a file, a hub id or a package's name."""
        if self.in_package or self.is_file:
            return False
        looks_like_a_path = HUB_ID.fullmatch(self.id_or_folder) is None
        return looks_like_a_path or Path(self.id_or_folder).is_dir()

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision or "") is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on this machine, checked and ready to load."""

    folder: Path  # for from_pretrained(folder, use_safetensors=True, local_files_only=True)
    name: str  # identifies their bytes: "Salesforce/blip2-opt-2.7b@59a1ef6c1e51"


@contextmanager
def about(key: str, weights: Weights) -> Iterator[None]:
    """Begin the message of an InvalidRequest in the block with a recipe's key and value."""
    try:
        yield
    except InvalidRequest as error:
        value = "/".join(filter(None, (weights.id_or_folder, weights.subfolder)))
        raise InvalidRequest(f"`{key}` ({value}): {error}") from error


def resolve(
    weights: Weights,
    *,
    offline: bool | None = None,
    patterns: Sequence[str] = PATTERNS,
    has_weights: bool = True,
) -> Found:
    """Find weights on this machine, or fetch a pinned commit from the hub unless `offline`.

    `offline` None follows HF_HUB_OFFLINE. `patterns` select the files of a hub model, below its
    subfolder. `has_weights` False is for its configuration alone. Raises InvalidRequest for a
    missing model, with the command that downloads it, and for an incomplete set of safetensors
    files.
    """
    if weights.is_file:
        raise InvalidRequest(
            f"{weights.id_or_folder} is a single file; expected a folder with a config.json and "
            "safetensors files, or a hub id such as 'owner/model'."
        )
    advice = _advice(weights, patterns)
    if weights.in_package:
        root = package_folder(weights.id_or_folder)
        check_package(root)
    elif weights.is_folder:
        root = _local_folder(weights)
    else:
        root = _hub_folder(weights, offline, patterns, advice)
    folder = root / weights.subfolder
    if not folder.is_dir():
        raise InvalidRequest(
            f"{weights.id_or_folder} has no folder {weights.subfolder!r}. {advice}"
        )
    if has_weights:
        _check_safetensors(weights, folder, advice)
    if weights.in_package:
        return Found(folder=folder, name=_package_name(weights, root))
    revision = _fingerprint(folder) if weights.is_folder else root.name
    model = root.resolve().name if weights.is_folder else weights.id_or_folder
    return Found(folder=folder, name=_name(model, revision, weights.subfolder))


def resolve_single(weights: Weights) -> Found:
    """Find a single .safetensors file: its folder, and its name with a digest of its bytes.

    Raises InvalidRequest for a missing file and for formats that can run code.
    """
    path = Path(weights.id_or_folder).expanduser()
    if path.suffix.lower() in PICKLES:
        raise InvalidRequest(
            f"{path} is a {path.suffix} file, which can run code when it is loaded. Use the "
            ".safetensors file of the same model, or convert it on a machine without secrets."
        )
    if not path.is_file():
        raise InvalidRequest(f"There is no file {path}. Give the path of a .safetensors file.")
    if weights.revision or weights.subfolder:
        raise InvalidRequest(
            f"{path} is a local file, which has no revision or subfolder. Leave them out."
        )
    return Found(folder=path.parent, name=_name(path.name, file_digest(path), ""))


def weights_name(weights: Weights, *, offline: bool | None = None) -> str:
    """Return `Found.name`; a hub model pinned to a commit need not be on this machine."""
    if weights.in_package:
        return _package_name(weights, package_folder(weights.id_or_folder))
    if weights.is_file:
        return resolve_single(weights).name
    if not weights.is_folder and weights.is_pinned:
        return _name(weights.id_or_folder, weights.revision or "", weights.subfolder)
    return resolve(weights, offline=offline).name


def weights_names(by_key: Iterable[tuple[str, Weights]]) -> Iterator[str]:
    """Yield `weights_name` of each; an InvalidRequest begins with its key and value."""
    for key, weights in by_key:
        with about(key, weights):
            yield weights_name(weights)


def resolve_file(weights: Weights, name: str, *, offline: bool | None = None) -> Path:
    """Find one file of a model on this machine, or fetch it, in any format (beware of pickles).

    Raises InvalidRequest with the command that downloads it.
    """
    if weights.in_package:
        root, advice = package_folder(weights.id_or_folder), "Name another file."
        check_package(root)
    elif weights.is_folder:
        root, advice = _local_folder(weights), "Copy it there from where the model came from."
    else:
        advice = _advice(weights, [name])
        root = _hub_folder(weights, offline, [name], advice)
    path = root / weights.subfolder / name
    if not path.is_file():
        raise InvalidRequest(f"{_shown(weights)} has no file {name} on this machine. {advice}")
    return path


def _package_name(weights: Weights, root: Path) -> str:
    """Name by the digest of all files: "small_diffusion@0123456789ab/base"."""
    model = weights.id_or_folder.partition("/")[0].rpartition(".")[2]
    return _name(model, package_digest(root), weights.subfolder)


def _name(model: str, revision: str, subfolder: str) -> str:
    return f"{model}@{revision[:12]}" + (f"/{subfolder}" if subfolder else "")


def _local_folder(weights: Weights) -> Path:
    folder = Path(weights.id_or_folder).expanduser()
    if not folder.is_dir():
        raise InvalidRequest(
            f"There is no folder {weights.id_or_folder}. Give the folder of a model in the layout "
            "of the hub, or a hub id such as 'owner/model'."
        )
    return folder


def _hub_folder(
    weights: Weights, offline: bool | None, patterns: Sequence[str], advice: str
) -> Path:
    """Snapshot folder of a hub model, named by its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import is_offline_mode

    offline = is_offline_mode() if offline is None else offline
    try:
        return Path(
            snapshot_download(
                weights.id_or_folder,
                revision=weights.revision,
                allow_patterns=_below_subfolder(weights, patterns),
                local_files_only=offline or not weights.is_pinned,
            )
        )
    except Exception as error:  # the hub's client raises some thirty kinds
        why = _first_line(error)
        if offline or not weights.is_pinned:
            unpinned = "no commit is named, and only named commits are fetched"
            why = "the network is switched off" if offline else unpinned
        raise InvalidRequest(
            f"The model {_shown(weights)} is not on this machine and was not fetched ({why}). "
            f"{advice}"
        ) from error


def _check_safetensors(weights: Weights, folder: Path, advice: str) -> None:
    """Raise InvalidRequest without safetensors files, or if an index names a missing file."""
    paths = _files(folder)
    if not any(path.suffix == ".safetensors" for path in paths):
        others = sorted({p.name for p in paths if p.suffix in (".bin", ".pt", ".pth")})
        found = f"only {', '.join(others[:3])}" if others else "no weights"
        raise InvalidRequest(
            f"{_shown(weights)} holds {found}; only .safetensors files are loaded, because other "
            f"formats can run code. {advice}"
        )
    for index in (path for path in paths if path.name.endswith(".safetensors.index.json")):
        files = _indexed(index)
        missing = sorted(name for name in files if not (index.parent / Path(name).name).is_file())
        if missing:
            raise InvalidRequest(
                f"{_shown(weights)} is not complete: {index.name} names {missing[0]}, which is not "
                f"there ({len(missing)} files are missing). {advice}"
            )


def _indexed(index: Path) -> set[str]:
    """Names of the files listed in the index of a sharded model; raises InvalidRequest."""
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"it has more than {MAX_INDEX_BYTES} bytes")
        return {str(name) for name in parse_json(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{index} is not a valid index of a sharded model: {error}") from error


def _fingerprint(folder: Path) -> str:
    """Digest of a model folder: every byte of its configuration and weights files."""
    digest = hashlib.sha256()
    for path in _files(folder):
        if path.suffix in {pattern[1:] for pattern in PATTERNS}:
            digest.update(f"{path.relative_to(folder)} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Regular files below a model's folder, sorted; raises InvalidRequest, UnreadableFile.

    A linked folder is refused: a loader would follow the link, but the digest would not cover it.
    """
    found = list(files_below(folder))
    if linked := next((path for path in found if path.is_dir()), None):
        raise InvalidRequest(
            f"{linked} is a symbolic link to a folder; expected a folder of the model itself. Copy "
            f"{linked.resolve()} there."
        )
    return [path for path in found if path.is_file()]


def _shown(weights: Weights) -> str:
    place = "" if weights.revision is None else f" at revision {weights.revision}"
    return f"{weights.id_or_folder}{place}"


def _below_subfolder(weights: Weights, patterns: Sequence[str]) -> list[str]:
    return [f"{weights.subfolder}/{p}" if weights.subfolder else p for p in patterns]


def _advice(weights: Weights, patterns: Sequence[str]) -> str:
    if weights.in_package:
        return "Use a complete checkout of the repository."
    if weights.is_folder:
        return "Use a copy of the model with .safetensors files."
    command = ["hf", "download", weights.id_or_folder]
    command += ["--revision", weights.revision] if weights.revision else []
    if weights.subfolder or tuple(patterns) != PATTERNS:
        command += [x for p in _below_subfolder(weights, patterns) for x in ("--include", p)]
    return (
        f"Download it with `{shlex.join(command)}` on a machine with network access and copy the "
        "cache folder, or give the folder of a local copy."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
