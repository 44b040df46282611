"""Margin of a condition: how much likelier it is than the likeliest other one."""

import numpy as np

from nightrain.pipelines.gates.base import Measured

MOST_MARGIN = 20.0


def measured_margin(log_probabilities: np.ndarray, wanted: int) -> Measured:
    """Score `margin` of class `wanted`, given the log probability (C,) of each class."""
    margin = log_probabilities[wanted] - np.delete(log_probabilities, wanted).max()
    return Measured({"margin": float(np.clip(margin, -MOST_MARGIN, MOST_MARGIN))})
