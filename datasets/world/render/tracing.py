"""Tracing an image in front of the lens: first hits, antialiased edges, wet mirror, spray."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.render import mirror, spray
from nightrain.datasets.world.render.light import Lighting
from nightrain.datasets.world.render.rays import Traced, trace
from nightrain.datasets.world.shapes.pinhole import View
from nightrain.datasets.world.shapes.raycast import Hits

# Positions of the rays through an outline's pixel, in addition to the one through its centre.
_SUB_PIXELS = ((-0.125, -0.375), (0.375, -0.125), (-0.25, 0.30))
EDGES_AT_FULL = 0.16  # share of outline pixels above which each gets two rays instead of four
SPRAY_WETNESS = 0.6
HIGHLIGHT = 4.0  # rays of an outline are clipped to this factor times their median


@dataclass(frozen=True, slots=True)
class Seen:
    """Image in front of the lens: luminance (H, W, 3) in cd/m2, and the hits of each pixel."""

    radiance: np.ndarray
    hits: Hits  # (H, W), through the pixels' centres


def look(lighting: Lighting, view: View) -> Seen:
    """Trace an image; pixels on outlines and shadow edges are averaged over several rays."""
    width, height = view.size
    v, u = np.mgrid[0.0:height, 0.0:width]
    directions = view.directions(u, v)  # (3, H, W)
    hits = lighting.moment.caster.cast(view.eye_m, directions)
    traced = trace(lighting, view.eye_m, directions.reshape(3, -1), hits, view.pixel_rad)
    _smooth(lighting, view, _edges(hits.row, traced.sunlit.reshape(height, width)), traced)
    radiance = traced.radiance
    if lighting.weather.wetness > 0:
        radiance += mirror.reflected(lighting, view, directions, hits, traced)
    if lighting.weather.wetness > SPRAY_WETNESS:
        _veil(lighting, view, directions.reshape(3, -1), hits, radiance)
    return Seen(np.ascontiguousarray(radiance.T.reshape(height, width, 3)), hits)


def _veil(
    lighting: Lighting, view: View, directions: np.ndarray, hits: Hits, radiance: np.ndarray
) -> None:
    """Add the spray behind vehicles to luminances (3, N)."""
    length = np.sqrt((directions * directions).sum(0))
    distance_m = np.minimum(hits.t.ravel() * length, 1e6)
    thick = spray.thickness(lighting.moment, view.eye_m, directions / length, distance_m)
    index = np.flatnonzero(thick > 1e-3)
    clear = np.exp(-thick[index])
    radiance[:, index] *= clear
    radiance[:, index] += (1 - clear) * lighting.airborne()


def _edges(row: np.ndarray, sunlit: np.ndarray) -> np.ndarray:
    """Mask (H, W) of pixels next to a change of solid or of shadow."""
    edge = np.zeros(row.shape, bool)
    for a in (row, sunlit):
        across, down = a[:, 1:] != a[:, :-1], a[1:] != a[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
    return edge


def _smooth(lighting: Lighting, view: View, edges: np.ndarray, traced: Traced) -> None:
    """Average edge pixels over further rays, each lit by a different part of the sun."""
    v, u = np.nonzero(edges)
    if not len(v):
        return
    at = v * view.size[0] + u
    shifts = _SUB_PIXELS if len(v) < EDGES_AT_FULL * edges.size else _SUB_PIXELS[:1]
    samples = [traced.radiance[:, at]]
    mirrors = [traced.wet_mirror[at]]
    for k, (du, dv) in enumerate(shifts):
        directions = view.directions(u + du, v + dv)
        hits = lighting.moment.caster.cast(view.eye_m, directions)
        extra = trace(lighting, view.eye_m, directions, hits, view.pixel_rad, k + 1)
        samples.append(extra.radiance)
        mirrors.append(extra.wet_mirror)
    colours = np.stack(samples)  # (rays, 3, N)
    limit = HIGHLIGHT * np.median(colours, axis=0) if len(samples) > 2 else np.inf
    traced.radiance[:, at] = np.minimum(colours, limit).mean(axis=0)
    traced.wet_mirror[at] = np.mean(mirrors, axis=0)
