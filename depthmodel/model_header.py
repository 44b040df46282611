"""Header of a model folder: the digest that it states, read without torch or its weights."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.atomic_folder import recover
from nightrain.datasets.io.documents import mapping, parse_json
from nightrain.datasets.io.untrusted import safe_join

WEIGHTS = "model.safetensors"
MAX_NAMES = 3  # of tensors or files in a message


def saved_digest(folder: Path) -> str:
    """Digest that a model folder states, without reading its weights; raises InvalidRequest."""
    path = weights_file(folder)
    try:
        with safe_open(path, framework="numpy") as file:
            return parse_metadata(file.metadata())["digest"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"{path} does not state its digest ({error!r}); give a folder that save_pretrained "
            "wrote."
        ) from error


def require_folder(folder: Path) -> None:
    """Raise InvalidRequest for a missing folder, unless a killed process was replacing it."""
    if not folder.is_dir():
        with suppress(OSError):
            recover(folder)
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}. Give one that save_pretrained wrote.")


def weights_file(folder: Path) -> Path:
    """Path of a model folder's weights; raises InvalidRequest for a folder without any."""
    require_folder(folder)
    try:
        path = safe_join(folder, WEIGHTS)
    except DamagedInput as error:
        raise InvalidRequest(f"{folder}: {error}. Copy the file itself into the folder.") from error
    if not path.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
        found = f"only {', '.join(others[:MAX_NAMES])}" if others else "no weights"
        raise InvalidRequest(
            f"{folder} holds {found}, expected {WEIGHTS}; other formats can run code and are not "
            "loaded. Save the model again with save_pretrained."
        )
    return path


def parse_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Notes that were saved with tensors, by name; raises ValueError."""
    fields = mapping(parse_json((metadata or {}).get("nightrain", "{}")))
    return {str(key): str(value) for key, value in fields.items()}
