"""Smooth random fields: in the image, and lying on the ground in metres."""

import cv2
import numpy as np

TILE_PX = 256
TILE_SEED = 20210521  # the same ground texture for all; a sample's own offset moves it about


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 3
) -> np.ndarray:
    """Fractal noise (H, W) float32 of about unit variance, of (rows, columns) coarsest cells."""
    grid = np.zeros((cells[0] << octaves, cells[1] << octaves), np.float32)
    for octave in range(octaves):
        size = cells[0] << octave, cells[1] << octave
        coarse = rng.standard_normal(size, np.float32) * np.float32(0.5**octave)
        grid += cv2.resize(coarse, grid.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _wrapping_tile() -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(TILE_SEED))
    rows, columns = np.fft.fftfreq(TILE_PX)[:, None], np.fft.fftfreq(TILE_PX)[None]
    frequency = np.hypot(rows, columns) * TILE_PX
    amplitude = np.where(frequency > 0.5, 1 / np.maximum(frequency, 4.0) ** 1.6, 0.0)
    spectrum = np.fft.fft2(rng.standard_normal((TILE_PX, TILE_PX))) * amplitude
    tile = np.fft.ifft2(spectrum).real
    return (tile / tile.std()).astype(np.float32)


GROUND_TILE = _wrapping_tile()


def ground_noise(x_m: np.ndarray, z_m: np.ndarray, tile_m: float, offset: np.ndarray) -> np.ndarray:
    """Noise (H, W) of unit variance on ground coordinates (H, W) in metres; repeats each tile."""
    scale = np.float32(TILE_PX / tile_m)
    u, v = x_m * scale + np.float32(offset[0]), z_m * scale + np.float32(offset[1])
    np.clip(u, -30000, 30000, out=u)  # cv2.remap takes 16-bit coordinates
    np.clip(v, -30000, 30000, out=v)
    return cv2.remap(GROUND_TILE, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
