"""Sample sheet: images, predicted and target depth of a few training samples as one PNG."""

from pathlib import Path

import cv2
import numpy as np
import torch

from nightrain.datasets.io.atomic import write_whole

COLOURS = cv2.COLORMAP_MAGMA  # near is bright


def write_sample_sheet(path: Path, image: torch.Tensor, *depths_m: torch.Tensor | None) -> None:
    """Write a PNG with a row per sample: image (B, 3, H, W), then depths (B, h, w) or (B, 1, h, w).

    Depths in metres. A row has one colour scale of inverse depth; pixels without depth are grey.
    """
    maps = [
        d.detach().float().cpu().reshape(len(d), *d.shape[-2:]).numpy()
        for d in depths_m
        if d is not None
    ]
    images = (image.detach().float().cpu().permute(0, 2, 3, 1).numpy() * 255).round()
    rows = []
    for k, rgb in enumerate(images.astype(np.uint8)):
        size = (rgb.shape[1], rgb.shape[0])
        inverse = [_inverse(cv2.resize(m[k], size, interpolation=cv2.INTER_NEAREST)) for m in maps]
        nearest = max(
            (float(np.nanquantile(i, 0.98)) for i in inverse if np.isfinite(i).any()), default=1.0
        )
        rows.append(cv2.hconcat([rgb[..., ::-1], *(_coloured(i / nearest) for i in inverse)]))
    write_whole(path, cv2.imencode(".png", cv2.vconcat(rows))[1].tobytes())


def _inverse(depth_m: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(depth_m > 0, 1.0 / depth_m, np.nan)


def _coloured(share: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] or NaN to (H, W, 3) uint8, BGR."""
    levels = np.nan_to_num(np.clip(share, 0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, COLOURS)
    colours[np.isnan(share)] = 128
    return colours
