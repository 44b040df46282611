"""Gate of alignment: the edges of a variant lie where those of its clear frame do.

It compares the directions of edges, which the weather leaves, and not their strength or sign.
"""

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.edge_directions import edge_directions

AROUND_PX = 41  # window of the local strength that edges are measured by
LEAST_PEAK = 0.1  # of a displacement that counts
MOST_WEIGHT = 2.0  # of an edge, in local strengths


def measure_alignment(request: Request, variant: Variant) -> Measured:
    """Measure how far the edges of a variant agree with those of its clear frame."""
    clear, seen = edge_directions(request.image), edge_directions(variant.image)
    moved, peak = displacement(clear, seen)
    # A low peak says that the pictures have nothing in common, not by how much one is displaced.
    shares = {"agreement": agreement(clear, seen), "displacement": moved * (peak > LEAST_PEAK)}
    return Measured(shares)


def agreement(clear: np.ndarray, variant: np.ndarray) -> float:
    """Mean cosine of the doubled angle between edges (2, h, w), weighted by the clear ones."""
    strength = cv2.magnitude(*clear)
    cosine = (clear * variant).sum(axis=0) / (strength * cv2.magnitude(*variant) + 1e-9)
    weight = np.minimum(strength / _around(strength), MOST_WEIGHT)
    return float((cosine * weight).sum() / max(float(weight.sum()), 1e-9))


def displacement(clear: np.ndarray, variant: np.ndarray) -> tuple[float, float]:
    """Displacement between edges (2, h, w), as a share of the longer side, and how sure it is.

    By phase correlation (Kuglin and Hines 1975), which finds a shift in one Fourier transform. The
    second value is the height of its peak, in [0, 1]; near 0 the pictures have nothing in common.
    """
    height, width = clear.shape[1:]
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    before, after = (s / _around(s) for s in (cv2.magnitude(*clear), cv2.magnitude(*variant)))
    (x_px, y_px), peak = cv2.phaseCorrelate(before, after, window)
    return float(np.hypot(x_px, y_px)) / max(height, width), float(peak)


def _around(strength: np.ndarray) -> np.ndarray:
    return cv2.blur(strength, (AROUND_PX, AROUND_PX)) + np.float32(1e-4)
