"""Gate of structure: no visible thing of the clear frame is lost, and nothing new is there.

Edges are compared in windows as wide as a near vehicle. What the condition rightly hides, by the
engine's map of visibility, does not count: there an edge may be lost, or a flake or a drop be new.
"""

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.edge_directions import edge_directions
from nightrain.pipelines.gates.visible import visible_part

WINDOW_PX = 40  # of edges at 448 pixels
STRONG_PERCENTILE, MOST_STRENGTH = 85, 1.5  # of an edge, and its largest weight in such edges
LEAST_LEFT, FAINT = 0.5, 0.05  # of a visible edge that is not lost; of one that counts at all
NEW_OVER_OLD = 2.0  # strength above which an edge where there was a weaker one is new
LEAST_EDGES = 0.25  # mean visible edges of a window that is judged


def measure_structure(request: Request, variant: Variant) -> Measured:
    """Compare the edges of a variant with those of its clear frame; the worst windows decide.

    `lost` is the share of a window's visible edges that have gone, `novel` the strength of edges
    that the clear frame has not. A pixel's confidence is what the condition leaves visible of it,
    times the share of the edges around it that are left.
    """
    before, after = edge_directions(request.image), edge_directions(variant.image)
    visible = visible_part(request, variant, before.shape[1:])
    was, now = cv2.magnitude(*before), cv2.magnitude(*after)
    same = np.clip((before * after).sum(axis=0) / (was * now + 1e-9), 0, 1)
    # A new edge counts by its own picture's edges, but faint ones of a faint picture do not.
    strong_was, strong_now = _strong(was), _strong(now)
    faint = np.float32(NEW_OVER_OLD) * now / strong_was
    was, now = _relative(was, strong_was), _relative(now, strong_now)
    new = np.minimum(now, faint)
    edges = was * visible
    expected = np.maximum(np.float32(LEAST_LEFT) * edges, np.float32(FAINT))
    left = same * np.minimum(1, now / expected)
    of_window, lost_of_window = _mean(edges), _mean(edges * (1 - left))
    lost = np.where(of_window > LEAST_EDGES, lost_of_window / (of_window + 1e-6), 0)
    known = same * np.minimum(1, NEW_OVER_OLD * was / np.maximum(now, NEW_OVER_OLD * FAINT))
    novel = _mean(new * (1 - known) * visible)
    left_of_window = 1 - lost_of_window / np.maximum(of_window, LEAST_EDGES)
    return Measured(
        {"lost": float(lost.max()), "novel": float(novel.max())},
        confidence=visible * left_of_window,
    )


def _strong(strength: np.ndarray) -> np.float32:
    return np.float32(max(float(np.percentile(strength, STRONG_PERCENTILE)), 1e-6))


def _relative(strength: np.ndarray, strong: np.float32) -> np.ndarray:
    return np.minimum(strength / strong, np.float32(MOST_STRENGTH))


def _mean(field: np.ndarray) -> np.ndarray:
    return cv2.blur(field.astype(np.float32), (WINDOW_PX, WINDOW_PX))
