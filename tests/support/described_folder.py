"""A small described folder: pictures, depth and a YAML file, as a user would have them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.sources.folder.config import FolderConfig
from nightrain.datasets.sources.folder.source import FolderSource
from support.synthetic import INTRINSICS, SIZE, ground_depth_m, picture

NAMES = ("day/0001", "day/0002", "night/0003")


def depth_m() -> np.ndarray:
    """Depth (H, W) float32 of every picture; 0 in the sky."""
    found = ground_depth_m()
    return np.where(np.isfinite(found), found, 0).astype(np.float32)


def described(folder: Path, **changes: Any) -> Path:
    """Write three pictures with .npy depth and return their description; None drops a field."""
    for index, name in enumerate(NAMES):
        put(folder / f"images/{name}.jpg", encode_jpeg(picture(index)))
        (folder / f"depth/{name}.npy").parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"depth/{name}.npy", depth_m())
    fields: dict[str, Any] = {
        "name": "my-drive",
        "licence": "CC0-1.0",
        "pictures": "images/**/*",
        "intrinsics": {"matrix": INTRINSICS.tolist(), "size": list(SIZE)},
        "depth": {"files": "depth/**/*.npy", "format": "npy"},
    }
    kept = {name: value for name, value in (fields | changes).items() if value is not None}
    return put(folder / "folder.yaml", json.dumps(kept).encode())  # JSON is YAML


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def opened(description: Path, **options: Any) -> FolderSource:
    return FolderSource(FolderConfig(root=description, **options))
