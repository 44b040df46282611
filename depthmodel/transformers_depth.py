"""Depth networks that transformers saved, read from a folder without a hub."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.loading_reports import quiet_transformers
from nightrain.depthmodel.weights import Found, Weights, resolve

InverseDepthOf = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
FILES = ("config.json", "preprocessor_config.json")


def is_of_transformers(folder: Path) -> bool:
    """Whether a folder holds a network as transformers saves it, not one of nightrain."""
    return (folder / "preprocessor_config.json").is_file()


def foundation_weights(folder: Path) -> Found:
    """Checked folder of a depth network that transformers saved; nothing is loaded.

    Raises InvalidRequest where a file is missing.
    """
    folder = folder.resolve()
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise InvalidRequest(
            f"{folder} holds no {' and no '.join(absent)}; expected the folder of a depth network "
            f"of transformers, with {', '.join(FILES)} and model.safetensors."
        )
    return resolve(Weights(str(folder)))


def load_foundation(folder: Path) -> InverseDepthOf:
    """Predictor of relative inverse depth (h, w) for images (H, W, 3) uint8, of any size.

    Images are resized and normalised as the folder's preprocessor_config.json says. Raises
    InvalidRequest.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    found = foundation_weights(folder)
    options: dict[str, Any] = {"local_files_only": True}
    try:
        with quiet_transformers():
            processor: Any = AutoImageProcessor.from_pretrained(found.folder, **options)
            loaded: Any = AutoModelForDepthEstimation.from_pretrained(
                found.folder, use_safetensors=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"{folder} is not a depth network of transformers: {str(error).splitlines()[0]}"
        ) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise InvalidRequest(
            f"{folder} lacks {len(missing)} tensors of its network, the first {missing[0]}; its "
            "weights and config.json are of different networks."
        )
    model.eval()
    is_metric = getattr(model.config, "depth_estimation_type", "relative") == "metric"

    @torch.no_grad()
    def predict(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = []
        for image in images:
            inputs = processor(images=[image], return_tensors="pt")
            depth = model(**inputs).predicted_depth[0].float().numpy()
            found.append(1 / np.maximum(depth, 1e-3) if is_metric else depth)
        return found

    return predict
