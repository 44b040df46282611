"""A depth network on disk: config.json, model.safetensors and a model card, each by a fixed name.

The weights file carries the digest of what was saved, so that a damaged file, or one beside the
configuration of another network, is found when it is loaded.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.atomic import fsync, no_space_is_disk_full, require_free
from nightrain.datasets.io.untrusted import read_bytes, safe_join
from nightrain.depthmodel.config import DepthConfig, parse_config
from nightrain.depthmodel.network.model_card import ModelCard

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MAX_CONFIG_BYTES = 1_000_000
SHOWN = 3  # names of tensors in a message


@dataclass(frozen=True, slots=True)
class Saved:
    """What lay in a model's folder."""

    tensors: dict[str, torch.Tensor]
    encoder: str  # which pretrained encoder the training started from


def digest(config: DepthConfig, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the configuration and every tensor by name: 16 hex digits."""
    total = hashlib.sha256(config.identity.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def save(
    folder: Path,
    config: DepthConfig,
    tensors: Mapping[str, torch.Tensor],
    card: ModelCard,
    encoder: str,
) -> None:
    """Write a model's folder under another name, then move it into place.

    Raises InvalidRequest as `DepthModel.save_pretrained` says, and DiskFull.
    """
    _check_finite(tensors)
    _check_replaceable(folder)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    name = digest(config, plain)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = _hidden(folder, "new")
    # safetensors reports a full disk as an error of its own, so ask before.
    require_free(folder.parent, sum(t.nbytes for t in plain.values()) + MAX_CONFIG_BYTES)
    try:
        with no_space_is_disk_full(folder.parent):
            new.mkdir()
            text = config.without_pretrained().model_dump_json(indent=2)
            (new / CONFIG).write_text(text + "\n")
            (new / CARD).write_text(card.markdown(config, name, encoder))
            save_file(plain, new / WEIGHTS, metadata=_metadata(name, encoder))
            for path in (new / CONFIG, new / CARD, new / WEIGHTS, new):
                fsync(path)
            _move_into_place(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def load_config(folder: Path) -> DepthConfig:
    """Configuration of a model's folder; raises InvalidRequest."""
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}. Give one that save_pretrained wrote.")
    try:
        text = read_bytes(folder, CONFIG, MAX_CONFIG_BYTES)
    except DamagedInput as error:
        raise InvalidRequest(
            f"{folder} is no saved depth model: {error}. Give a folder that save_pretrained wrote."
        ) from error
    return parse_config(text, str(folder / CONFIG)).without_pretrained()


def load(folder: Path, config: DepthConfig, expected: Mapping[str, torch.Tensor]) -> Saved:
    """Tensors of a model's folder, which must be those of `expected`; raises InvalidRequest."""
    path = _weights_file(folder)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = _parse_metadata(file.metadata())
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
            _check_tensors(path, shapes, expected)
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidRequest(
            f"{path} cannot be read as safetensors ({error}); copy the model from its original."
        ) from error
    _check_digest(path, metadata.get("digest"), digest(config, tensors))
    return Saved(tensors, metadata.get("encoder", "unknown"))


def saved_digest(folder: Path) -> str:
    """The digest that a model's folder says it has; `load` checks it. Raises InvalidRequest."""
    path = _weights_file(folder)
    try:
        with safe_open(path, framework="pt") as file:
            return _parse_metadata(file.metadata())["digest"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"{path} does not say which network it is ({error!r}); give a folder that "
            "save_pretrained wrote."
        ) from error


def _weights_file(folder: Path) -> Path:
    try:
        path = safe_join(folder, WEIGHTS)
    except DamagedInput as error:
        raise InvalidRequest(f"{folder}: {error}. Copy the file itself into the folder.") from error
    if not path.is_file():
        if not folder.is_dir():
            raise InvalidRequest(
                f"There is no folder {folder}. Give one that save_pretrained wrote."
            )
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
        found = f"only {', '.join(others[:SHOWN])}" if others else "no weights"
        raise InvalidRequest(
            f"{folder} holds {found}, expected {WEIGHTS}; other formats can run code and are not "
            "loaded. Save the model again with save_pretrained."
        )
    return path


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
        f"{len(names)} tensors {what} ({', '.join(names[:SHOWN])})"
        for what, names in (
            ("are missing", missing),
            ("are not of this network", extra),
            ("have another shape", misshaped),
        )
        if names
    ]
    if problems:
        raise InvalidRequest(
            f"{path} is not the network of the {CONFIG} beside it: {'; '.join(problems)}. Both "
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
            f"{len(broken)} tensors hold NaN or infinity ({', '.join(broken[:SHOWN])}); such a "
            "model is not saved. Go back to an earlier checkpoint."
        )


def _check_replaceable(folder: Path) -> None:
    """Only an earlier model may be replaced."""
    if not os.path.lexists(folder):
        return
    others = [] if not folder.is_dir() else [p.name for p in folder.iterdir()]
    strange = sorted(set(others) - {CONFIG, WEIGHTS, CARD})
    if not folder.is_dir() or folder.is_symlink() or strange:
        found = f"holds {', '.join(strange[:SHOWN])}" if strange else "is no folder"
        raise InvalidRequest(
            f"{folder} {found}; a model is saved into a new folder or over an earlier model."
        )


def _move_into_place(new: Path, folder: Path) -> None:
    old = _hidden(folder, "old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    fsync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _hidden(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.{uuid.uuid4().hex}.{what}"


def _metadata(name: str, encoder: str) -> dict[str, str]:
    # One key: safetensors writes several in an order that changes from run to run.
    return {"nightrain": json.dumps({"digest": name, "encoder": encoder})}


def _parse_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    fields = json.loads((metadata or {}).get("nightrain", "{}"))
    if not isinstance(fields, dict):
        raise ValueError(f"its note is {type(fields).__name__}, no table")
    return {str(key): str(value) for key, value in fields.items()}


def read_card(folder: Path) -> ModelCard:
    """The card of a saved model; raises InvalidRequest."""
    try:
        return ModelCard.parse(read_bytes(folder, CARD, MAX_CONFIG_BYTES).decode())
    except (DamagedInput, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{folder} has no readable model card: {error}") from error
