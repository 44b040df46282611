"""What the study of feature restoration compares, as data."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from depthmodel.aux_images import ViewKind
from depthmodel.restoration_presets import SPARSE_SHARE, WORLD_VIEW

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
    view: ViewKind | None = None
    sparse_share: float | None = SPARSE_SHARE
    scored: tuple[View, ...] = ("none",)


R1 = Arm(name="r1", words="R1 with the deviation loss", restoration={}, deviation=0.1)
DIFFUSION = replace(R1, name="diffusion", words="R1: + diffusion, T = 4", deviation=0.0)
R2 = replace(R1, name="r2", words="R2 with the deviation loss", lower="invertible")
INVERTIBLE = replace(
    R2, name="invertible", words="R2: diffusion and invertible lower stages", deviation=0.0
)
ALL_VIEWS: tuple[View, ...] = ("right", "none", "wrong")
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
    DIFFUSION,
    R1,
    Arm(name="base-invertible", words="invertible lower stages alone", lower="invertible"),
    INVERTIBLE,
    R2,
    replace(R2, name="stereo", words="R3: + the stereo partner", view="stereo", scored=ALL_VIEWS),
    replace(
        R2,
        name="previous",
        words="R3: + the frame before, at its recorded pose",
        view="previous",
        scored=ALL_VIEWS,
    ),
    replace(DIFFUSION, name="dense-diffusion", words="R1 from all of the depth", sparse_share=None),
    replace(
        INVERTIBLE, name="dense-invertible", words="R2 from all of the depth", sparse_share=None
    ),
    replace(
        R2,
        name="dense-r2",
        words="R2 from all of the depth, with the deviation loss",
        sparse_share=None,
    ),
)
VIEWS = {
    "stereo": WORLD_VIEW,
    "previous": WORLD_VIEW.model_copy(update={"alignment": "pose"}),
}
