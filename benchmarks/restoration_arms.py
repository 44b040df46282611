"""What the study of feature restoration compares, as data."""

from dataclasses import dataclass, field
from typing import Any, Literal

from depthmodel.restoration_presets import WORLD_VIEW

Lower = Literal["fusion", "invertible"]
View = Literal["none", "right", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is added to the base, and with which losses it is trained."""

    name: str
    words: str
    lower: Lower = "fusion"
    restoration: dict[str, Any] | None = None  # fields that are not the preset's; None: none
    deviation: float = 0.0
    view: Literal["stereo", "previous"] | None = None
    sparse_share: float | None = 0.05
    scored: tuple[View, ...] = field(default=("none",))


ARMS = (
    Arm(name="base", words="R0, trained as long as the others"),
    Arm(
        name="unet",
        words="+ UNet, one step, noise as in the diffusion",
        restoration={"num_steps": 1},
    ),
    Arm(
        name="control",
        words="+ the same UNet as a plain residual: no noise, one step",
        restoration={"kind": "one-step"},
    ),
    Arm(name="diffusion", words="R1: + diffusion, T = 4", restoration={}),
    Arm(name="r1", words="R1 with the deviation loss", restoration={}, deviation=0.1),
    Arm(name="base-invertible", words="invertible lower stages alone", lower="invertible"),
    Arm(
        name="invertible",
        words="R2: diffusion and invertible lower stages",
        lower="invertible",
        restoration={},
    ),
    Arm(
        name="r2",
        words="R2 with the deviation loss",
        lower="invertible",
        restoration={},
        deviation=0.1,
    ),
    Arm(
        name="stereo",
        words="R3: + the stereo partner",
        lower="invertible",
        restoration={},
        deviation=0.1,
        view="stereo",
        scored=("right", "none", "wrong"),
    ),
    Arm(
        name="previous",
        words="R3: + the frame before, at its recorded pose",
        lower="invertible",
        restoration={},
        deviation=0.1,
        view="previous",
        scored=("right", "none", "wrong"),
    ),
    Arm(
        name="dense-diffusion",
        words="R1 from all of the depth",
        restoration={},
        sparse_share=None,
    ),
    Arm(
        name="dense-invertible",
        words="R2 from all of the depth",
        lower="invertible",
        restoration={},
        sparse_share=None,
    ),
    Arm(
        name="dense-r2",
        words="R2 from all of the depth, with the deviation loss",
        lower="invertible",
        restoration={},
        deviation=0.1,
        sparse_share=None,
    ),
)
VIEWS = {
    "stereo": WORLD_VIEW,
    "previous": WORLD_VIEW.model_copy(update={"alignment": "pose"}),
}
