"""Model folder on disk: config.json, model.safetensors and a model card, each by a fixed name.

One writer and one reader for all networks. A folder is written under another name, fsynced and
moved into place. The weights file carries the digest of what was saved, so that a damaged file, or
weights next to the configuration of another network, is found when it is loaded.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full, require_free
from nightrain.datasets.io.atomic_folder import whole_folder
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.depthmodel.model_header import (
    MAX_NAMES,
    WEIGHTS,
    parse_metadata,
    require_folder,
    weights_file,
)
from nightrain.depthmodel.tensor_file import save_tensors

CONFIG, CARD = "config.json", "README.md"
MAX_CONFIG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Saved:
    """Tensors of a model folder, and the notes saved with them."""

    tensors: dict[str, torch.Tensor]
    notes: dict[str, str]


def digest(identity: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over a configuration's identity and every tensor by name: 16 hex digits."""
    total = hashlib.sha256(identity.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def save(
    folder: Path,
    config: str,
    identity: str,
    tensors: Mapping[str, torch.Tensor],
    *,
    notes: Mapping[str, str] | None = None,
    card: Callable[[str], str] | None = None,
) -> None:
    """Write a model folder, whole or not at all; a model saved there before is replaced.

    `config` is JSON, and `identity` is the part of it that enters the digest; `card` returns the
    model card's text for a digest. Raises InvalidRequest where the folder holds anything else or a
    weight is not finite, and DiskFull.
    """
    _check_finite(tensors)
    _check_replaceable(folder)
    name = digest(identity, tensors)
    require_free(folder.parent, sum(t.nbytes for t in tensors.values()) + MAX_CONFIG_BYTES)
    with no_space_is_disk_full(folder.parent), whole_folder(folder) as new:
        (new / CONFIG).write_text(config + "\n")
        if card is not None:
            (new / CARD).write_text(card(name))
        save_tensors(new / WEIGHTS, tensors, _metadata({"digest": name, **(notes or {})}))


def read_config(folder: Path) -> bytes:
    """Configuration of a model folder, as JSON; raises InvalidRequest."""
    require_folder(folder)
    try:
        return read_bytes(folder, CONFIG, MAX_CONFIG_BYTES)
    except DamagedInput as error:
        raise InvalidRequest(
            f"{folder} is not a saved model: {error}. Give a folder that save_pretrained wrote."
        ) from error


def check(folder: Path, expected: Mapping[str, torch.Tensor]) -> None:
    """Compare the header of a weights file with the names and shapes of `expected`.

    Done before a network is built, so that a configuration that is not that of the weights
    allocates nothing. Raises InvalidRequest.
    """
    path = weights_file(folder)
    with _readable(path), safe_open(path, framework="pt") as file:
        _check_tensors(path, _shapes(file), expected)


def load(folder: Path, identity: str, expected: Mapping[str, torch.Tensor]) -> Saved:
    """Load tensors, which must have the names and shapes of `expected`; raises InvalidRequest."""
    path = weights_file(folder)
    with _readable(path), safe_open(path, framework="pt") as file:
        notes = parse_metadata(file.metadata())
        shapes = _shapes(file)
        _check_tensors(path, shapes, expected)
        tensors = {name: file.get_tensor(name) for name in shapes}
    _check_digest(path, notes.get("digest"), digest(identity, tensors))
    return Saved(tensors, notes)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidRequest(
            f"{path} cannot be read as safetensors ({error}); copy the model from its original."
        ) from error


def _shapes(file: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in an open safetensors file, by name, from its header alone."""
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _check_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, torch.Tensor]
) -> None:
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    misshaped = [
        f"{name} is {shapes[name]}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    ]
    problems = [
        f"{len(names)} tensors {what} ({', '.join(names[:MAX_NAMES])})"
        for what, names in (
            ("are missing", missing),
            ("are not of this network", extra),
            ("have another shape", misshaped),
        )
        if names
    ]
    if problems:
        raise InvalidRequest(
            f"{path} is not the network of the {CONFIG} next to it: {'; '.join(problems)}. Both "
            "must come from one save_pretrained."
        )


def _check_digest(path: Path, saved: str | None, found: str) -> None:
    if saved != found:
        raise InvalidRequest(
            f"{path}: configuration and weights have the digest {found}, expected {saved} as it "
            "was saved. A file was damaged or changed; copy the model from its original."
        )


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    broken = [n for n, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if broken:
        raise InvalidRequest(
            f"{len(broken)} tensors hold NaN or infinity ({', '.join(broken[:MAX_NAMES])}); such a "
            "model is not saved. Go back to an earlier checkpoint."
        )


def _check_replaceable(folder: Path) -> None:
    """Raise InvalidRequest unless the folder is new or holds an earlier model."""
    if not os.path.lexists(folder):
        return
    others = [] if not folder.is_dir() else [p.name for p in folder.iterdir()]
    strange = sorted(set(others) - {CONFIG, WEIGHTS, CARD})
    if not folder.is_dir() or folder.is_symlink() or strange:
        found = f"holds {', '.join(strange[:MAX_NAMES])}" if strange else "is not a folder"
        raise InvalidRequest(
            f"{folder} {found}; a model is saved into a new folder or over an earlier model."
        )


def _metadata(notes: Mapping[str, str]) -> dict[str, str]:
    # One key: safetensors writes several in an order that changes from run to run.
    return {"nightrain": json.dumps(notes)}
