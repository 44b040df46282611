"""Wet ground reflections: mirrored rays on every second pixel, blurred by roughness."""

import cv2
import numpy as np

from nightrain.datasets.world.render.atmosphere import transmission
from nightrain.datasets.world.render.light import Lighting
from nightrain.datasets.world.render.rays import Traced, trace
from nightrain.datasets.world.shapes.pinhole import View
from nightrain.datasets.world.shapes.raycast import Hits

FAINTEST = 0.004  # smallest mirrored share that gets a ray
SLOPE_OF_ROUGHNESS = 0.5  # standard deviation of the slopes / GGX's squared roughness
LIFT_M = 0.03


def reflected(
    lighting: Lighting, view: View, directions: np.ndarray, hits: Hits, traced: Traced
) -> np.ndarray:
    """Luminance (3, H * W) that the wet ground mirrors towards the camera.

    Pixels with the sky in their centre mirror what the ground next to them does.
    """
    height, width = hits.t.shape
    share = traced.wet_mirror.reshape(height, width)
    rough = traced.wet_roughness.reshape(height, width)
    # An outline's pixel averages the shares of its rays: its own may see the sky.
    mirrors = (share > FAINTEST) & (hits.row >= 0)
    v, u = np.nonzero(mirrors[::2, ::2])
    found = np.zeros((height, width, 3), np.float32)
    if not len(v):
        return found.reshape(-1, 3).T
    v, u = 2 * v, 2 * u
    ray = directions[:, v, u]
    ray = ray / np.sqrt((ray * ray).sum(0))
    point = view.eye_m[:, None] + directions[:, v, u] * hits.t[v, u]
    normal = _rippled(hits.normal[:, v, u], rough[v, u], lighting)
    out = ray - 2 * (ray * normal).sum(0) * normal
    out[2] = np.maximum(np.abs(out[2]), 0.002)  # directions into the ground are reflected upwards
    start = point + LIFT_M * hits.normal[:, v, u]
    met = lighting.moment.caster.cast(start, out)
    seen = trace(lighting, start, out, met, 3 * view.pixel_rad).radiance
    smooth = _filled(seen, v // 2, u // 2, (-(-height // 2), -(-width // 2)), rough[::2, ::2])
    smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    # the air between ground and camera attenuates as well
    way = np.where(np.isfinite(hits.t), hits.t, 0.0) * np.linalg.norm(directions, axis=0)
    found = smooth * (share * transmission(lighting.weather, way))[..., None]
    return found.reshape(-1, 3).T


def _rippled(normal: np.ndarray, rough: np.ndarray, lighting: Lighting) -> np.ndarray:
    """Unit normals (3, N) with slopes as rough as the surface, drawn from the weather's seed."""
    rng = np.random.default_rng(
        [lighting.weather.seed, round(lighting.moment.t_s * 1e6) % (1 << 40)]
    )
    spread = SLOPE_OF_ROUGHNESS * rough * rough
    slopes = rng.standard_normal((2, len(rough))) * spread
    turned = np.stack([normal[0] + slopes[0], normal[1] + slopes[1], normal[2]])
    return turned / np.sqrt((turned * turned).sum(0))


def _filled(
    seen: np.ndarray, v: np.ndarray, u: np.ndarray, shape: tuple[int, int], rough: np.ndarray
) -> np.ndarray:
    """Half-size image (h, w, 3) of rays (3, N), smoothed within the mirroring pixels only."""
    picture = np.zeros((*shape, 4), np.float32)  # colour and coverage
    picture[v, u, :3] = seen.T
    picture[v, u, 3] = 1
    sharp = cv2.GaussianBlur(picture, (3, 3), 0.6)
    soft = cv2.GaussianBlur(picture, (7, 25), 1.2, None, 5.0)
    sharp, soft = (p[..., :3] / np.maximum(p[..., 3:], 1e-3) for p in (sharp, soft))
    return soft + (sharp - soft) * np.clip(1.4 - 5.0 * rough, 0, 1)[..., None]
