"""What the study of feature restoration compares, as data."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.config import ViewKind
from nightrain.depthmodel.training.restoration_presets import SPARSE_SHARE, WORLD_VIEW

Lower = Literal["fusion", "invertible"]
View = Literal["none", "right", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is added to the base, with which losses it is trained, and against which arm it stands.

    `clear_start`: from a network that has seen clear frames alone, instead of all weather; not
    `trained`: that network as it is.
    """

    name: str
    words: str
    against: str = "base"
    lower: Lower = "fusion"
    restoration: dict[str, Any] | None = None  # fields that are not the preset's; None: none
    deviation: float = 0.0
    view: ViewKind | None = None
    sparse_share: float | None = SPARSE_SHARE
    frozen: tuple[str, ...] = ("encoder",)
    clear_start: bool = False
    trained: bool = True
    scored: tuple[View, ...] = ("none",)


WEATHER = (Condition.CLEAR, Condition.NIGHT, Condition.RAIN, Condition.NIGHT_RAIN)
ONE_STEP = {"kind": "one-step"}
R1 = Arm(name="diffusion", words="R1: + diffusion, T = 4", restoration={})
INVERTIBLE = replace(
    R1, name="invertible", words="R2: diffusion and invertible lower stages", lower="invertible"
)
R2 = replace(INVERTIBLE, name="r2", words="R2 with the deviation loss", deviation=0.1)
ALL_VIEWS: tuple[View, ...] = ("right", "none", "wrong")
CLEAR = Arm(
    name="as-it-is",
    words="R0 of clear frames, as it is",
    against="as-it-is",
    clear_start=True,
    trained=False,
)
SAME_HEAD = replace(CLEAR, trained=True, frozen=("encoder", "decoder"))  # only features may change
ARMS = (
    Arm(name="base", words="R0, trained as long as the others"),
    Arm(
        name="control",
        words="+ the same UNet as a plain residual: no noise, one step",
        restoration=ONE_STEP,
    ),
    R1,
    Arm(name="base-invertible", words="R0 with invertible lower stages", lower="invertible"),
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
    replace(R1, name="dense-diffusion", words="R1 from all of the depth", sparse_share=None),
    replace(
        INVERTIBLE, name="dense-invertible", words="R2 from all of the depth", sparse_share=None
    ),
    replace(
        R2,
        name="dense-r2",
        words="R2 from all of the depth, with the deviation loss",
        sparse_share=None,
    ),
    CLEAR,
    replace(CLEAR, name="head", words="R0 of clear frames, its head trained", trained=True),
    replace(
        SAME_HEAD,
        name="same-head-control",
        words="the same head; features by the UNet in one step, without noise",
        restoration=ONE_STEP,
    ),
    replace(
        SAME_HEAD,
        name="same-head-diffusion",
        words="the same head; features by the diffusion, T = 4",
        restoration={},
    ),
)
VIEWS = {
    "stereo": WORLD_VIEW,
    "previous": WORLD_VIEW.model_copy(update={"alignment": "pose"}),
}
