"""A pose network on disk: config.json and model.safetensors, which names the former's digest."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.atomic import fsync, no_space_is_disk_full
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.depthmodel.network.model_folder import CONFIG, MAX_CONFIG_BYTES, WEIGHTS


def save(folder: Path, config_json: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write both files; a load between the two is refused by the digest. Raises DiskFull."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    config = config_json.encode() + b"\n"
    drafts = {name: folder / f".{name}.{os.getpid()}" for name in (WEIGHTS, CONFIG)}
    with no_space_is_disk_full(folder):
        save_file(plain, drafts[WEIGHTS], metadata={"config_sha256": _sha256(config)})
        drafts[CONFIG].write_bytes(config)
        for name, draft in drafts.items():
            fsync(draft)
            os.replace(draft, folder / name)
        fsync(folder)


def load(folder: Path) -> tuple[bytes, dict[str, torch.Tensor]]:
    """The configuration's JSON and the tensors; raises InvalidRequest."""
    try:
        config = read_bytes(folder, CONFIG, MAX_CONFIG_BYTES)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            belongs_to = (file.metadata() or {}).get("config_sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (DamagedInput, SafetensorError, OSError) as error:
        raise InvalidRequest(
            f"{folder} is no saved pose network: {error}. Give the folder `pose` of a run."
        ) from error
    if belongs_to != _sha256(config):
        raise InvalidRequest(
            f"{folder}: {WEIGHTS} belongs to another {CONFIG}; copy both from their original."
        )
    return config, tensors


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
