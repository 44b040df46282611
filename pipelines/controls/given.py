"""Given depth: the frame's own, without a network."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.controls.depth_source import DepthInput, RelativeDepth, inverse_of_metric


@dataclass(frozen=True)
class GivenDepth:
    """Given depth: completed LiDAR, or exact depth of the built-in world."""

    name: str = "given"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return 1/z, 0 in the sky; raises DamagedInput(NO_DEPTH) if depth is missing."""
        depth_m = scene.depth_m
        if depth_m is None:
            raise DamagedInput(
                Reason.NO_DEPTH,
                "the frame has no depth for a control image; name a depth network in the recipe's "
                "control_depth",
            )
        known = depth_m > 0  # false for NaN, too
        if not known.all():
            raise DamagedInput(
                Reason.NO_DEPTH,
                f"{np.count_nonzero(~known)} of {depth_m.size} pixels have no depth; a control "
                "image needs dense depth (datasets.geometry.completion)",
            )
        return RelativeDepth(inverse_of_metric(depth_m), sky=np.isinf(depth_m))
