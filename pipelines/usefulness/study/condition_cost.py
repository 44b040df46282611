"""Cost of a condition: a model's increase in error over clear days at the same places.

The test frames of two conditions usually show different places, so their scores are not comparable.
Drives that were recorded under both are. If a condition costs a model nothing, there is nothing to
gain.
"""

from collections import defaultdict

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.results import Evaluation


def cost_of_conditions(evaluation: Evaluation) -> dict[Condition, float]:
    """Relative increase of abs_rel against clear days, over drives that have both.

    Metric depth under the evaluation's first cap, every drive with equal weight. Empty where no
    drive has both a clear image and another condition.
    """
    cap_m = evaluation.settings.caps_m[0]
    values: dict[tuple[str, Condition], list[float]] = defaultdict(list)
    for image in evaluation.images:
        if image.cap_m == cap_m and image.scaling == "metric":
            values[image.drive_id, image.condition].append(image.metrics.abs_rel)
    means = {key: float(np.mean(found)) for key, found in values.items()}
    costs: dict[Condition, float] = {}
    for condition in Condition:
        drives = {d for d, c in means if c == condition and (d, Condition.CLEAR) in means}
        if condition != Condition.CLEAR and drives:
            there = np.mean([means[drive, condition] for drive in drives])
            clear = np.mean([means[drive, Condition.CLEAR] for drive in drives])
            costs[condition] = float(there / clear - 1.0)
    return costs
