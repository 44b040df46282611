"""The clear sky: colour gradient, glow about the sun, soft clouds. Linear RGB (3, N)."""

import numpy as np

from datasets.world.noise import fractal, smoothstep

ZENITH = np.array([[0.13], [0.27], [0.62]], np.float32)
HORIZON = np.array([[0.62], [0.72], [0.83]], np.float32)
EARTH = np.array([[0.13], [0.125], [0.12]], np.float32)
SUN = np.array([[2.95], [2.66], [2.20]], np.float32)
AMBIENT_UP = np.array([[0.38], [0.47], [0.63]], np.float32)
AMBIENT_DOWN = np.array([[0.20], [0.19], [0.175]], np.float32)
_CLOUD_OCTAVES = ((1.6, 0.5), (0.7, 0.27), (0.3, 0.14), (0.13, 0.08), (0.06, 0.04))


def gradient(ray: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Cloudless radiance (3, N) along unit rays (3, N); below the horizon, what the road shows."""
    up = np.clip(ray[2], 0, 1)
    share = 1 - (1 - up) ** 3
    air = HORIZON + (ZENITH - HORIZON) * share
    glow = np.clip(sun.astype(np.float32) @ ray, 0, 1)
    air = air + np.array([[0.45], [0.38], [0.26]], np.float32) * (glow**24 + 0.35 * glow**5)
    return np.where(ray[2] < 0, EARTH, air)


def clear_sky(ray: np.ndarray, sun: np.ndarray, pixel_rad: float, seed: int) -> np.ndarray:
    """Radiance (3, N) of the sky with fair-weather clouds on a plane overhead."""
    up = np.maximum(ray[2], 0.02).astype(np.float32)
    u, v = (ray[0] / up).astype(np.float32), (ray[1] / up).astype(np.float32)
    width = (pixel_rad / (up * up)).astype(np.float32)
    drift = np.float32(seed % 97)
    body = 0.5 + fractal(u + drift, v - drift, width, _CLOUD_OCTAVES, seed)
    lit = 0.5 + fractal(u + drift + 0.12, v - drift + 0.08, width, _CLOUD_OCTAVES[:3], seed)
    cover = smoothstep(0.50, 0.92, body) * smoothstep(0.02, 0.30, ray[2]) * 0.85
    white = 0.86 + 0.30 * np.clip(body - lit + 0.3, 0, 1)
    air = gradient(ray, sun)
    tint = np.array([[1.0], [1.0], [1.02]], np.float32)
    return (air + (tint * white - air) * cover).astype(np.float32)
