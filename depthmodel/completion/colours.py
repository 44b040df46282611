"""Colours of training images: changed so widely that rendered streets do not look alike."""

import cv2
import numpy as np

from nightrain.datasets.io.images import decode_jpeg, encode_jpeg

NEW_SKY_SHARE = 0.35  # of the images
FIELD_SHARE = 0.6
SHUFFLE_SHARE = 0.15


def recoloured(image: np.ndarray, sky: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Image (H, W, 3) uint8 with other colours, light, sky, blur, noise and JPEG quality.

    `sky` (H, W) bool marks the pixels that can get another sky.
    """
    values = image.astype(np.float32) / 255
    size = (image.shape[0], image.shape[1])
    if rng.random() < NEW_SKY_SHARE:
        values = np.where(_softened(sky)[..., None], _any_sky(size, rng), values)
    values = values ** rng.uniform(0.6, 1.6) * rng.uniform(0.7, 1.25)
    values = values * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < FIELD_SHARE:  # shade, sunlight and coloured surfaces
        values = values * np.exp(_field(size, rng, channels=3) * rng.uniform(0.0, 0.6))
    if rng.random() < SHUFFLE_SHARE:
        values = values[..., rng.permutation(3)]
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.2, 1.4)
    mean = values.mean()
    values = mean + (values - mean) * rng.uniform(0.6, 1.3)
    if rng.random() < 0.4:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.5:
        values = values + rng.normal(0, rng.uniform(0, 0.05), values.shape).astype(np.float32)
    pixels = np.clip(values * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        pixels = decode_jpeg(encode_jpeg(pixels, quality=int(rng.integers(50, 95))))
    return pixels


def _any_sky(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Sky (H, W, 3): a colour with a gradient downwards and clouds."""
    base = rng.uniform(0.3, 1.0) + rng.normal(0, 0.08, 3)
    gradient = np.linspace(0, rng.normal(0, 0.2), shape[0])[:, None, None]
    clouds = _field(shape, rng, channels=1) * rng.uniform(0.0, 0.2)
    return np.clip(base + gradient + clouds, 0, 1.2).astype(np.float32)


def _field(shape: tuple[int, int], rng: np.random.Generator, channels: int) -> np.ndarray:
    """Smooth random field (H, W, channels) of about unit variance."""
    cells = int(rng.integers(2, 12))
    coarse = rng.normal(0, 1, (cells, cells, channels)).astype(np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return field.reshape(*shape, channels)


def _softened(sky: np.ndarray) -> np.ndarray:
    return cv2.erode(sky.astype(np.uint8), np.ones((2, 2), np.uint8)) > 0
