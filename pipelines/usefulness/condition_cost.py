"""What a condition itself costs: the same places under it and on a clear day, by one model.

Conditions of a test are seen at places of their own, so that their scores say little of each other;
where a drive was recorded under both, they do. What costs nothing leaves nothing to be gained.
"""

from collections import defaultdict

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.results import Evaluation


def cost_of_conditions(evaluation: Evaluation) -> dict[Condition, float]:
    """(abs_rel under a condition - abs_rel on clear days) / the latter, over drives that have both.

    Of unscaled depth under the evaluation's first cap, each drive counting alike. Empty where no
    drive has a clear image and another, or the evaluation was kept without its images.
    """
    cap_m = evaluation.settings.caps_m[0]
    values: dict[tuple[str, Condition], list[float]] = defaultdict(list)
    for image in evaluation.images:
        if image.cap_m == cap_m and image.variant == "":
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
