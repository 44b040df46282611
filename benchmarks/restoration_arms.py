"""Arms of the restoration study, as data."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from nightrain.datasets.conditions import Condition

Lower = Literal["fusion", "invertible"]
View = Literal["none", "right", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Arm of the study: what it adds to R0, the base, and its losses.

    It starts from a network trained on all weather, or with `clear_start` on clear frames only.
    With `trained` False, that network is scored without further training. With `twins` it is shown
    clear frames and their recorded twins at night and in rain, and `clear` is the weight of each
    estimate's distance to the features of the clear twin.
    """

    name: str
    words: str
    lower: Lower = "fusion"
    restoration: dict[str, Any] | None = None  # fields that override the preset's; None: none
    deviation: float = 0.0
    twins: bool = False
    clear: float = 0.0
    view: Literal["stereo"] | None = None
    frozen: tuple[str, ...] = ("encoder",)
    clear_start: bool = False
    trained: bool = True
    scored: tuple[View, ...] = ("none",)


WEATHER = (Condition.CLEAR, Condition.NIGHT, Condition.RAIN, Condition.NIGHT_RAIN)
TWINS = (Condition.NIGHT, Condition.RAIN)
ONE_STEP = {"kind": "one-step"}
THROUGH_TIME = {"full_gradient": True}  # the chain is trained on its own estimates, end to end
WIDE = ONE_STEP | {"base_channels": 64}  # one step with the operations of four: twice the width
BASE = Arm(name="base", words="R0: head trained on all weather")
R1 = Arm(name="diffusion", words="R1: diffusion, T = 4", restoration={})
R2 = replace(
    R1,
    name="r2",
    words="R2: diffusion, invertible lower stages, deviation loss",
    lower="invertible",
    deviation=0.1,
)
ALL_VIEWS: tuple[View, ...] = ("right", "none", "wrong")
CLEAR = Arm(name="as-it-is", words="none: head of clear frames", clear_start=True, trained=False)
HEAD = replace(CLEAR, name="twin-head", words="head trained further", trained=True, twins=True)
TWIN = replace(HEAD, frozen=("encoder", "decoder"), clear=1.0)  # features alone change
ARMS = (
    replace(BASE, name="start", words="R0 before the last steps", trained=False),
    BASE,
    replace(R1, name="control", words="the same UNet in one step", restoration=ONE_STEP),
    R1,
    CLEAR,
    HEAD,
    replace(
        TWIN, name="twin-one-step", words="features restored in one step", restoration=ONE_STEP
    ),
    replace(TWIN, name="twin-wide", words="one step of a UNet of equal compute", restoration=WIDE),
    replace(
        TWIN,
        name="twin-diffusion",
        words="restored by diffusion, T = 4, gradient through all steps",
        restoration=THROUGH_TIME,
    ),
    replace(BASE, name="base-invertible", words="R0, invertible lower stages", lower="invertible"),
    replace(R2, name="invertible", words="R2 without the deviation loss", deviation=0.0),
    R2,
    replace(
        R2, name="stereo", words="R3: R2 and the stereo partner", view="stereo", scored=ALL_VIEWS
    ),
)
