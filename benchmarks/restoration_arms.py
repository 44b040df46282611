"""Arms of the restoration study, as data."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.config import ViewKind
from nightrain.depthmodel.training.restoration_presets import SPARSE_SHARE, WORLD_VIEW

Lower = Literal["fusion", "invertible"]
View = Literal["none", "right", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Arm of the study: what it adds to the base, its losses, and the arm it is compared with.

    With `clear_start` it starts from a network trained on clear frames only instead of all
    weather. With `trained` False, that network is scored without further training. With `twins` it
    is shown clear frames and their recorded twins at night and in rain, and `clear` is the weight
    of each estimate's distance to the features of the clear twin.
    """

    name: str
    words: str
    against: str = "base"
    lower: Lower = "fusion"
    restoration: dict[str, Any] | None = None  # fields that override the preset's; None: none
    deviation: float = 0.0
    twins: bool = False
    clear: float = 0.0
    view: ViewKind | None = None
    sparse_share: float | None = SPARSE_SHARE
    frozen: tuple[str, ...] = ("encoder",)
    clear_start: bool = False
    trained: bool = True
    scored: tuple[View, ...] = ("none",)


WEATHER = (Condition.CLEAR, Condition.NIGHT, Condition.RAIN, Condition.NIGHT_RAIN)
TWINS = (Condition.NIGHT, Condition.RAIN)
ONE_STEP = {"kind": "one-step"}
THROUGH_TIME = {"full_gradient": True}  # the chain is trained on its own estimates, end to end
WIDE = ONE_STEP | {"base_channels": 64}  # one step with the operations of four: twice the width
R1 = Arm(name="diffusion", words="R1: + diffusion, T = 4", restoration={})
INVERTIBLE = replace(
    R1, name="invertible", words="R2: diffusion and invertible lower stages", lower="invertible"
)
R2 = replace(INVERTIBLE, name="r2", words="R2 with the deviation loss", deviation=0.1)
ALL_VIEWS: tuple[View, ...] = ("right", "none", "wrong")
CLEAR = Arm(
    name="as-it-is",
    words="R0 trained on clear frames only",
    against="as-it-is",
    clear_start=True,
    trained=False,
)
SAME_HEAD = replace(CLEAR, trained=True, frozen=("encoder", "decoder"))  # features alone change
TWIN = replace(SAME_HEAD, twins=True, clear=1.0)
ARMS = (
    Arm(name="base", words="R0, trained for as many steps as the others"),
    Arm(
        name="control",
        words="control: + the same UNet as a plain residual, one step without noise",
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
        words="R3: + the previous frame, at its recorded pose",
        view="previous",
        scored=ALL_VIEWS,
    ),
    replace(R1, name="dense-diffusion", words="R1, trained on dense depth", sparse_share=None),
    replace(
        INVERTIBLE, name="dense-invertible", words="R2, trained on dense depth", sparse_share=None
    ),
    replace(
        R2,
        name="dense-r2",
        words="R2 with the deviation loss, trained on dense depth",
        sparse_share=None,
    ),
    CLEAR,
    replace(CLEAR, name="head", words="R0 of clear frames, head trained further", trained=True),
    replace(
        SAME_HEAD,
        name="same-head-control",
        words="same head; features restored by the UNet, one step without noise",
        restoration=ONE_STEP,
    ),
    replace(
        SAME_HEAD,
        name="same-head-diffusion",
        words="same head; features restored by diffusion, T = 4",
        restoration={},
    ),
    replace(CLEAR, name="twin-head", words="twins: head trained further", trained=True, twins=True),
    replace(TWIN, name="twin-one-step", words="twins: UNet, one step", restoration=ONE_STEP),
    replace(
        TWIN,
        name="twin-diffusion",
        words="twins: diffusion, T = 4, gradient through all steps",
        restoration=THROUGH_TIME,
    ),
    replace(
        TWIN,
        name="twin-wide",
        words="twins: wider UNet, one step of equal compute",
        restoration=WIDE,
    ),
)
VIEWS = {
    "stereo": WORLD_VIEW,
    "previous": WORLD_VIEW.model_copy(update={"alignment": "pose"}),
}
