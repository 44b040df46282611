"""Tiled refinement: a depth network on the whole image and on 49 overlapping tiles.

Like the 49 patches of PatchFusion (Li, Bhat and Wonka 2024), without its fusion network: the
inverse depth of each tile is fitted to that of the whole image by a scale and a shift, and the
tiles are blended with smooth windows.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    DepthSource,
    ImageWindow,
    RelativeDepth,
    depths_of,
)

LEAST_TILE_PX = 8
NUM_ROUNDS = 30
FITTED_PIXELS = 20_000  # pixels per tile that the fit uses
CAUCHY = 2.385  # times the residuals' scale: 95 % efficient for normal noise


@dataclass(frozen=True)
class TiledDepth:
    """Source refined on tiles of 1/grid of the image, half a tile apart: 49 for a grid of 4."""

    source: DepthSource
    grid: int = 4

    @property
    def name(self) -> str:
        """Name of the source and the number of tiles."""
        return f"{self.source.name}:tiled{(2 * self.grid - 1) ** 2}"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return inverse depth in the whole image's unit; raises InvalidRequest, DamagedInput."""
        height, width = scene.image.shape[:2]
        rows, row_weights = windows(height, self.grid)
        columns, column_weights = windows(width, self.grid)
        places = list(itertools.product(range(len(rows)), range(len(columns))))
        parts = [through_window(scene, rows[i], columns[j]) for i, j in places]
        whole, *tiles = depths_of(self.source, [scene, *parts])
        blended = np.zeros((height, width), np.float64)
        for (i, j), tile in zip(places, tiles, strict=True):
            row, column = rows[i], columns[j]
            fitted = fit_to(tile.inverse_depth, whole.inverse_depth[row, column])
            weight = row_weights[i][row, None] * column_weights[j][None, column]
            blended[row, column] += weight * fitted
        return replace(whole, inverse_depth=blended.astype(np.float32))


def windows(length: int, grid: int) -> tuple[list[slice], np.ndarray]:
    """Spans of 2 grid - 1 tiles that overlap by half, and their weights (2 grid - 1, length).

    The weights are squared sines and cosines: smooth, and they sum to 1 everywhere. Raises
    InvalidRequest for a length with tiles of fewer than 8 pixels.
    """
    if length < grid * LEAST_TILE_PX:
        raise InvalidRequest(
            f"A side of {length} pixels is too short for {grid} tiles of {LEAST_TILE_PX}. Use "
            "larger images, a smaller tile_grid, or no tiles."
        )
    edges = np.rint(np.linspace(0, length, 2 * grid + 1)).astype(int)
    weights = np.zeros((2 * grid - 1, length))
    for tile, (start, middle, end) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        weights[tile, start:middle] = _rising(middle - start) if tile > 0 else 1.0
        weights[tile, middle:end] = 1.0 - _rising(end - middle) if tile < 2 * grid - 2 else 1.0
    return [slice(int(a), int(b)) for a, b in zip(edges, edges[2:], strict=False)], weights


def through_window(scene: DepthInput, rows: slice, columns: slice) -> ImageWindow:
    """Crop an input and its intrinsics to some rows and columns."""
    intrinsics = np.array(scene.intrinsics, np.float64)
    intrinsics[:2, 2] -= (columns.start, rows.start)
    return ImageWindow(
        image=np.ascontiguousarray(scene.image[rows, columns]),
        intrinsics=intrinsics,
        depth_m=None if scene.depth_m is None else scene.depth_m[rows, columns],
    )


def fit_to(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit values (h, w) to a target (h, w) by a robust scale and shift; float64.

    Returns the target for a tile that is flat or would fit only with a negative scale.
    """
    step = max(1, int(np.ceil(np.sqrt(values.size / FITTED_PIXELS))))
    fit = fit_scale_shift(values[::step, ::step], target[::step, ::step])
    if fit is None:
        return target.astype(np.float64)
    scale, shift = fit
    return scale * values.astype(np.float64) + shift


def fit_scale_shift(values: np.ndarray, target: np.ndarray) -> tuple[float, float] | None:
    """Robust scale > 0 and shift from values to a target; None if there is no such fit.

    Iteratively reweighted least squares with Cauchy weights (Holland and Welsch 1977), so that
    objects in only one of the two do not matter.
    """
    x, y = values.ravel().astype(np.float64), target.ravel().astype(np.float64)
    if np.ptp(x) <= 1e-6 * max(1.0, float(np.abs(x).max())):
        return None
    weight = np.ones_like(x)
    scale = shift = 0.0
    for _ in range(NUM_ROUNDS):
        total = weight.sum()
        mean_x, mean_y = (weight @ x) / total, (weight @ y) / total
        variance = weight @ (x - mean_x) ** 2
        if variance <= 0:
            return None
        scale = float(weight @ ((x - mean_x) * (y - mean_y)) / variance)
        shift = float(mean_y - scale * mean_x)
        residual = np.abs(scale * x + shift - y)
        spread = 1.4826 * float(np.median(residual))
        if spread <= 1e-9 * max(1e-9, float(np.abs(y).max())):
            break
        weight = 1.0 / (1.0 + (residual / (CAUCHY * spread)) ** 2)
    return (scale, shift) if scale > 0 else None


def _rising(length: int) -> np.ndarray:
    """Ramp from 0 to 1 over `length` pixels, flat at both ends."""
    return np.sin(0.5 * np.pi * (np.arange(length) + 0.5) / length) ** 2
