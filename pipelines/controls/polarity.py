"""Depth map polarity: test that near is white, because networks differ.

In an image from a car, the lowest rows show the road just ahead or the car itself, and the rows
around the horizon show distant objects. This holds for every camera on the car.
"""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.errors import Reason, WrongPolarity

ROAD_ROWS = (0.85, 1.0)  # shares of the height
HORIZON_ROWS = (0.42, 0.58)
NUM_STRIPS = 24  # strips of columns vote: a near vehicle decides only its own
LEAST_LEAD = 0.3  # share of the strips by which one polarity must lead
LEAST_STEP = 0.05  # share of the map's range; a smaller step is a tie


def assert_near_is_white(inverse_depth: np.ndarray, *, road_in_view: bool = True) -> None:
    """Check that the road in inverse depth (H, W) is nearer than the horizon; raises WrongPolarity.

    Strips of columns vote by their medians, so that vehicles and noise in a few strips do not
    decide. Without `road_in_view`, an undecided map passes: a truck next to a side camera can fill
    the whole image at one depth.
    """
    _judge(near_is_white_lead(inverse_depth), road_in_view)


def require_near_is_white(name: str, leads: Sequence[float]) -> None:
    """Check a source on a few frames before a run, by the median of their `near_is_white_lead`.

    Raises WrongPolarity, also if the maps show no road.
    """
    label = f"depth by {name} on {len(leads)} frames: "
    _judge(float(np.median(leads)) if leads else 0.0, road_in_view=True, label=label)


def _judge(lead: float, road_in_view: bool, label: str = "") -> None:
    if lead <= -LEAST_LEAD:
        found = "the road ahead of the car is farther than the horizon: the map is inverted"
        advice = "invert the source (here, larger must mean nearer: 1/z for metric depth)"
    elif lead < LEAST_LEAD and road_in_view:
        found = "the road ahead of the car is about as far as the horizon: the map shows no road"
        advice = "check the network's weights and whether the camera is covered"
    else:
        return
    raise WrongPolarity(
        Reason.BAD_OUTPUT,
        f"{label}{found} (near minus far columns: {lead:+.2f}, expected {LEAST_LEAD:+.2f} to +1); "
        f"{advice}",
    )


def near_is_white_lead(inverse_depth: np.ndarray) -> float:
    """Share of strips with the road nearer than the horizon, minus the opposite: -1 to 1."""
    road, horizon = (_strips(inverse_depth, rows) for rows in (ROAD_ROWS, HORIZON_ROWS))
    step = LEAST_STEP * float(np.ptp(np.quantile(inverse_depth, [0.01, 0.99])))
    return float(np.mean(np.sign(road - horizon) * (np.abs(road - horizon) > step)))


def _strips(inverse_depth: np.ndarray, rows: tuple[float, float]) -> np.ndarray:
    """Medians (NUM_STRIPS,) of the strips of a band of rows."""
    height = len(inverse_depth)
    first = int(rows[0] * height)
    band = inverse_depth[first : max(first + 1, int(rows[1] * height))]
    return np.array([np.median(strip) for strip in np.array_split(band, NUM_STRIPS, axis=1)])
