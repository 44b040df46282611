"""Arms of the usefulness study as data: the training data of each student, and ablations.

All students start from the same teacher and take the same number of steps with the same batch size,
unless an arm says otherwise. To add an arm, add an entry to ARMS.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.corruptions import Corruptions
from nightrain.datasets.validation import Settings, in_one_line
from nightrain.depthmodel.config import DepthConfig, RestorationConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.roles.student import StudentRole
from nightrain.depthmodel.training.config import TrainConfig, checked
from nightrain.depthmodel.training.distillation_presets import with_restoration, world_student
from nightrain.depthmodel.training.restoration_presets import world_restoration_network
from nightrain.pipelines.usefulness.job import Share

BASELINE, MAIN, DOUBLE = "clear", "weather", "clear-double"


class Arm(Settings):
    """Arm of the study: training data, losses and frozen parts of its students.

    `shown` is added to the clear frames: nothing, simple corruptions, variants, or recorded adverse
    frames with the exact depth of all frames. `synthetic_share` is the share of synthetic samples;
    None makes clear and each of the C conditions of the variants equally likely, C / (C + 1).
    Corruptions have the same share as variants, so that only their images differ.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    words: str
    num_steps_factor: float = Field(default=1, ge=1)
    shown: Literal["nothing", "corruptions", "variants", "true-frames"] = "nothing"
    recipes: tuple[str, ...] = ("",)  # of the variants; "": that of the job
    synthetic_share: Share | None = None
    # Fields of StudentLoss that differ from the preset
    loss: dict[str, Any] = Field(default_factory=dict)
    restoration: RestorationConfig | None = None  # added to the teacher's network
    frozen: tuple[str, ...] = ()  # modules that are not trained

    @model_validator(mode="after")
    def _checks(self) -> "Arm":
        if unknown := set(self.loss) - {field.name for field in fields(StudentLoss)}:
            raise ValueError(f"loss: StudentLoss has no {', '.join(sorted(unknown))}")
        if self.synthetic_share is not None and self.shown not in ("corruptions", "variants"):
            raise ValueError(f"synthetic_share: {self.shown!r} has no synthetic samples")
        if self.recipes != ("",) and self.shown != "variants":
            raise ValueError(f"recipes: {self.shown!r} shows no variants")
        return self

    @property
    def on_dose_curve(self) -> bool:
        """Whether the arm differs from the main arm only in the share of synthetic samples."""
        plain = self.num_steps_factor == 1 and not (
            self.loss or self.recipes != ("",) or self.restoration or self.frozen
        )
        return plain and self.shown in ("nothing", "variants")


def dose_arm(share: float) -> Arm:
    """The main arm with another share of synthetic samples in (0, 1]; raises InvalidRequest."""
    try:
        return Arm(
            name=f"dose-{round(100 * share):02d}",
            words=f"as {MAIN}, {share:.0%} of the samples synthetic",
            shown="variants",
            synthetic_share=share,
        )
    except ValidationError as error:
        raise InvalidRequest(
            f"The dose {share:g} is not a share of samples; expected more than 0 and at most 1."
        ) from error


def recipe_arms(recipe: str) -> tuple[Arm, Arm]:
    """Arms of another recipe: its variants alone, and with those of the job's recipe.

    Raises InvalidRequest for a name that cannot be a folder's.
    """
    try:
        return (
            Arm(
                name=recipe,
                words=f"as {MAIN}, variants of {recipe}",
                shown="variants",
                recipes=(recipe,),
            ),
            Arm(
                name=f"with-{recipe}",
                words=f"as {MAIN}, variants of both recipes, half each",
                shown="variants",
                recipes=("", recipe),
            ),
        )
    except ValidationError as error:
        raise InvalidRequest(
            f"{recipe!r} cannot name an arm: expected at most 36 small letters, digits and hyphens."
        ) from error


_ARMS = (
    Arm(name=BASELINE, words="clear frames only"),
    Arm(name=DOUBLE, words="clear frames only, twice the steps", num_steps_factor=2),
    Arm(name="corruptions", words="+ darkening, blur, loss of contrast", shown="corruptions"),
    Arm(name=MAIN, words="+ variants of the recipe", shown="variants"),
    Arm(
        name="true-adverse",
        words="upper bound: + recorded adverse frames; exact depth of all frames as the target, "
        "without mask, confidence and semantic loss",
        shown="true-frames",
        loss={"mask_mode": "none", "semantic": 0.0, "confidence": False},
    ),
    Arm(
        name="no-mask",
        words=f"as {MAIN}, without the reliability mask",
        shown="variants",
        loss={"mask_mode": "none"},
    ),
    Arm(
        name="no-semantic",
        words=f"as {MAIN}, without the semantic loss",
        shown="variants",
        loss={"semantic": 0.0},
    ),
    Arm(
        name="no-confidence",
        words=f"as {MAIN}, without the labels' confidence",
        shown="variants",
        loss={"confidence": False},
    ),
    Arm(
        name="printed-mask",
        words=f"as {MAIN}, the mask as SSD prints it (eq. 5)",
        shown="variants",
        loss={"mask_mode": "printed"},
    ),
    Arm(
        name="restored",
        words=f"as {MAIN}, features restored by diffusion (R1)",
        shown="variants",
        restoration=world_restoration_network(),
        loss={"feature": 1.0},
    ),
    Arm(
        name="longer",
        words=f"as {MAIN}, 1.5 times the steps: the cost of restored",
        shown="variants",
        num_steps_factor=1.5,
    ),
    Arm(
        name="frozen",
        words=f"as {MAIN}, the teacher's encoder frozen: only the head is trained",
        shown="variants",
        frozen=("encoder",),
        loss={"semantic": 0.0},
    ),
    Arm(
        name="restored-frozen",
        words=f"as {MAIN}, the teacher's encoder frozen, its features restored (R1)",
        shown="variants",
        restoration=world_restoration_network(),
        frozen=("encoder",),
        loss={"feature": 1.0, "semantic": 0.0},
    ),
    dose_arm(0.25),
    dose_arm(0.5),
    dose_arm(2 / 3),
)
ARMS = {arm.name: arm for arm in _ARMS}


def select_arms(
    names: tuple[str, ...], doses: tuple[float, ...] = (), other_recipes: tuple[str, ...] = ()
) -> tuple[Arm, ...]:
    """Arms by name (default: all of ARMS), and those of further doses and other recipes.

    Raises InvalidRequest for an unknown name, and for a recipe with the name of another arm.
    """
    added = [*map(dose_arm, doses), *(arm for name in other_recipes for arm in recipe_arms(name))]
    if taken := [arm.name for arm in added if arm.recipes != ("",) and arm.name in ARMS]:
        raise InvalidRequest(
            f"The recipe {taken[0]!r} has the name of an arm. Name it by its folder or hash."
        )
    known = ARMS | {arm.name: arm for arm in added}
    if unknown := [name for name in names if name not in known]:
        raise InvalidRequest(f"There is no arm {unknown[0]!r}; choose from {', '.join(known)}.")
    wanted = {*names, *(arm.name for arm in added)} if names else set(known)
    return tuple(arm for name, arm in known.items() if name in wanted)


def student_config(
    arm: Arm,
    *,
    seed: int,
    teacher: Path,
    network: DepthConfig,
    labels: str,
    recipes: tuple[str, ...],
    num_conditions: int,
    num_steps: int | None = None,
    batch_size: int | None = None,
) -> TrainConfig:
    """Configure the run of an arm and a seed: `world-student` with the teacher's network.

    `recipes` are this arm's folders below variants/, `num_conditions` the number of conditions of
    the main arm's variants. Raises InvalidRequest for settings that do not fit together.
    """
    base = world_student()
    assert isinstance(base.role, StudentRole)
    true_frames = arm.shown == "true-frames"
    share = arm.synthetic_share
    role = base.role.model_copy(
        update={
            "teacher": teacher,
            "start": "teacher",
            "target": "exact" if true_frames else "labels",
            "loss": replace(base.role.loss, **arm.loss),
            "frozen": arm.frozen,
        }
    )
    data = base.data.model_copy(
        update={
            "conditions": tuple(Condition) if true_frames else (Condition.CLEAR,),
            "recipes": recipes if arm.shown == "variants" else (),
            "corruptions": Corruptions() if arm.shown == "corruptions" else None,
            "labels": None if true_frames else labels,
            "exact_depth": true_frames,
            "p_clear": "uniform" if share is None else 1.0 - share,
            "input_size": network.input_size,
            "loss_size": network.input_size,
        }
    )
    if arm.shown == "corruptions" and share is None:
        data = data.model_copy(update={"p_clear": 1 / (num_conditions + 1)})
    # The teacher's weights are loaded, so its encoder's pretrained weights are not needed.
    encoder = network.encoder.model_copy(update={"pretrained": None})
    config = base.model_copy(
        update={
            "name": arm.name,
            "role": role,
            "data": data,
            "model": network.model_copy(update={"encoder": encoder}),
            "num_steps": round((num_steps or base.num_steps) * arm.num_steps_factor),
            "batch_size": batch_size or base.batch_size,
            "seed": seed,
        }
    )
    if arm.restoration is not None:
        config = with_restoration(config, arm.restoration)
    try:
        return checked(config)
    except ValidationError as error:
        raise InvalidRequest(
            f"The settings of the arm {arm.name!r} do not fit together: {in_one_line(error)}"
        ) from error
