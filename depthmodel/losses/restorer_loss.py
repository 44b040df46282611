"""Weights of what trains the parts of the family with measured depth (iid_rdepth.md, 4.5)."""

from dataclasses import dataclass

from nightrain.depthmodel.losses.restoration import STEP_DECAY


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorerLoss:
    """Weights; a part with weight 0 is not computed. The paper's are not public: ours."""

    silog: float = 1.0
    step_decay: float = STEP_DECAY  # of a step's weight, for each step before the last
    deviation: float = 0.1  # of the steps' estimates from the last one
    projected: float = 0.0  # towards depth taken back through a strict decoder
    residual: float = 1e-3  # size of what is restored
    max_depth_m: float = 80.0
