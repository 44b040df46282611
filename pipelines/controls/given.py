"""Depth that is known already."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.controls.depth_source import DepthInput, RelativeDepth, inverse_of_metric


@dataclass(frozen=True)
class GivenDepth:
    """The scene's own dense depth: LiDAR completion, or exact from the built-in world."""

    name: str = "given"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """1/z, sky 0; raises DamagedInput(NO_DEPTH) where there is none or it has holes."""
        depth_m = scene.depth_m
        if depth_m is None:
            raise DamagedInput(
                Reason.NO_DEPTH,
                "the frame has no depth to make a control of; name a depth network in the recipe",
            )
        known = depth_m > 0  # false for NaN, too
        if not known.all():
            raise DamagedInput(
                Reason.NO_DEPTH,
                f"{np.count_nonzero(~known)} of {depth_m.size} pixels have no depth; a control "
                "needs dense depth: complete it first (datasets/geometry/completion.py)",
            )
        return RelativeDepth(inverse_of_metric(depth_m), sky=np.isinf(depth_m))
