"""Model folders and a hub cache as the hub's client lays them out."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

COMMIT = "59a1ef6c1e5117b3f65523d1c6066825bcf315e3"
ONE = np.arange(6, dtype=np.float32)


def model(folder: Path, tensor: np.ndarray = ONE, files: tuple[str, ...] = ("model",)) -> Path:
    """A folder as save_pretrained writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "test"}')
    for name in files:
        save_file({f"{name}.weight": tensor}, folder / f"{name}.safetensors")
    return folder


def cached(cache: Path, hub_id: str, branch: str | None = "main") -> Path:
    """A model as the hub's client keeps it."""
    top = cache / f"models--{hub_id.replace('/', '--')}"
    if branch:
        (top / "refs").mkdir(parents=True, exist_ok=True)
        (top / "refs" / branch).write_text(COMMIT)
    return model(top / "snapshots" / COMMIT)
