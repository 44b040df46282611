"""Arms of the usefulness study as data: the training data of each student, and ablations.

All students start from the same teacher and take the same number of steps with the same batch size,
unless an arm says otherwise. To add an arm, add an entry to ARMS. Images and targets of the main
arms, which part the domain of the images from the quality of the labels:

images                 the teacher's labels   exact depth
clear frames           clear                  clear-exact
variants               weather, diffusion     weather-exact, diffusion-exact
recorded twins         true-adverse           true-adverse-exact

True adverse frames have pseudo-labels in two ways. `true-adverse` shows twins, frames of the same
place and time under adverse weather, with the label of the clear frame: what a perfect generator
would give, with everything else as in `weather`. `self-labelled` shows recorded adverse frames with
the labels that the teacher gave these frames themselves, which is all that a real road offers.
"""

from dataclasses import fields
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.training.restoration_presets import world_restoration_network
from nightrain.pipelines.usefulness.job import Share, UsefulnessJob

BASELINE, MAIN, DOUBLE = "clear", "weather", "clear-double"
TRUE, TRUE_EXACT = "true-adverse", "true-adverse-exact"
VARIANTS, DIFFUSION = "--variants", "--diffusion"  # recipes that options of the job name


class Arm(Settings):
    """Arm of the study: training data, target, losses and trained parts of its students.

    `shown` is added to the clear frames: nothing, simple corruptions, variants, twins (recorded at
    the same place and time under adverse weather, in the place of variants), or all recorded
    adverse frames with targets of their own. `synthetic_share` is the share of samples that show
    variants; None makes clear and each of the C conditions of the variants equally likely,
    C / (C + 1). Corruptions and twins have the share of the main arm, so that only images differ.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    words: str
    num_steps_factor: float = Field(default=1, ge=1)
    shown: Literal["nothing", "corruptions", "variants", "twins", "frames"] = "nothing"
    # Of the variants: VARIANTS and DIFFUSION stand for those of the job
    recipes: tuple[str, ...] = (VARIANTS,)
    synthetic_share: Share | None = None
    target: Literal["labels", "exact"] = "labels"
    variant_confidence: bool = False  # pixels of variants are weighted as gates trust them
    # Fields of StudentLoss that differ from the preset
    loss: dict[str, Any] = Field(default_factory=dict)
    start: Literal["teacher", "pretrained"] = "teacher"  # pretrained: its encoder, a new head
    # norms: the scales and shifts of normalisation layers, and a head that starts anew
    trained: Literal["all", "norms"] = "all"
    restoration: RestorationConfig | None = None  # added to the teacher's network
    frozen: tuple[str, ...] = ()  # modules that are not trained
    backbone: str = ""  # of the job's other teachers; "": the job's teacher
    baseline: str = BASELINE  # arm to which changes are relative

    @model_validator(mode="after")
    def _checks(self) -> "Arm":
        if unknown := set(self.loss) - {field.name for field in fields(StudentLoss)}:
            raise ValueError(f"loss: StudentLoss has no {', '.join(sorted(unknown))}")
        if self.synthetic_share is not None and self.shown not in ("corruptions", "variants"):
            raise ValueError(f"synthetic_share: {self.shown!r} has no synthetic samples")
        if self.recipes != (VARIANTS,) and self.shown != "variants":
            raise ValueError(f"recipes: {self.shown!r} shows no variants")
        return self

    @property
    def needs_more(self) -> bool:
        """Whether the arm needs data or weights that a dataset or teacher may lack."""
        is_recorded = self.shown in ("twins", "frames")
        return is_recorded or self.start == "pretrained" or self.variant_confidence

    @property
    def is_plain(self) -> bool:
        """Whether the arm differs from the clear arm only in what it shows."""
        plain = Arm(
            name=self.name,
            words=self.words,
            shown=self.shown,
            recipes=self.recipes,
            synthetic_share=self.synthetic_share,
        )
        return self == plain

    @property
    def is_generator(self) -> bool:
        """Whether the arm stands for a generator: it differs from the main arm in recipes alone."""
        return self.is_plain and self.shown == "variants" and self.synthetic_share is None

    @property
    def on_dose_curve(self) -> bool:
        """Whether the arm differs from the main arm only in the share of synthetic samples."""
        shown = self.shown in ("nothing", "variants")
        return self.is_plain and shown and self.recipes == (VARIANTS,)


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


def recipe_arms(recipe: str) -> tuple[Arm, Arm, Arm]:
    """Arms of another recipe: its variants, with those of the job's recipe, and weighted by gates.

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
                recipes=(VARIANTS, recipe),
            ),
            Arm(
                name=f"weighted-{recipe}",
                words=f"as {recipe}, pixels weighted by the gates' confidence",
                shown="variants",
                recipes=(recipe,),
                variant_confidence=True,
            ),
        )
    except ValidationError as error:
        raise InvalidRequest(
            f"{recipe!r} cannot name an arm: expected at most 32 small letters, digits and hyphens."
        ) from error


def backbone_arms(name: str) -> tuple[Arm, Arm]:
    """Arms of another backbone with its own teacher: clear frames, and variants."""
    clear = f"{BASELINE}-{name}"
    words = f"with the network and the labels of the teacher {name}"
    return (
        Arm(name=clear, words=f"as {BASELINE}, {words}", backbone=name, baseline=clear),
        Arm(
            name=f"{MAIN}-{name}",
            words=f"as {MAIN}, {words}",
            shown="variants",
            backbone=name,
            baseline=clear,
        ),
    )


# A mask of reliable labels and their confidence say nothing about exact depth.
EXACT: dict[str, Any] = {"mask_mode": "none", "confidence": False}
# Adverse frames have no clear frame to compare features with, and no neighbours worth comparing.
ALONE: dict[str, Any] = {"mask_mode": "none", "semantic": 0.0}


def _exact(name: str, **shown: Any) -> Arm:
    """An arm that learns exact depth of the images that another arm shows."""
    words = f"as {name}, exact depth instead of labels, without mask and confidence"
    return Arm(name=f"{name}-exact", words=words, target="exact", loss=EXACT, **shown)


_ARMS = (
    Arm(name=BASELINE, words="clear frames only"),
    Arm(name=DOUBLE, words="clear frames only, twice the steps", num_steps_factor=2),
    Arm(name="corruptions", words="+ darkening, blur, loss of contrast", shown="corruptions"),
    Arm(name=MAIN, words="+ variants of --variants", shown="variants"),
    Arm(
        name="diffusion",
        words="+ variants of --diffusion",
        shown="variants",
        recipes=(DIFFUSION,),
    ),
    Arm(
        name="both",
        words="+ variants of both recipes, half each",
        shown="variants",
        recipes=(VARIANTS, DIFFUSION),
    ),
    Arm(
        name=TRUE,
        words="+ recorded twins under adverse weather, with the clear frame's label",
        shown="twins",
    ),
    Arm(
        name="self-labelled",
        words="+ recorded adverse frames, with the teacher's labels of these frames; without mask "
        "and semantic loss",
        shown="frames",
        loss=ALONE,
    ),
    _exact(BASELINE),
    _exact(MAIN, shown="variants"),
    _exact("diffusion", shown="variants", recipes=(DIFFUSION,)),
    _exact(TRUE, shown="twins"),
    Arm(
        name="frames-exact",
        words="+ all recorded adverse frames, also of other places; exact depth of all frames, "
        "without mask, confidence and semantic loss",
        shown="frames",
        target="exact",
        loss=EXACT | ALONE,
    ),
    Arm(
        name="norms",
        words="clear frames only; of the teacher's weights only scales and shifts of normalisation "
        "layers are trained",
        trained="norms",
    ),
    Arm(
        name="few-parameters",
        words="clear frames only; pretrained encoder, of which only the normalisation layers are "
        "trained, and a new head; three times the steps, without semantic loss",
        start="pretrained",
        trained="norms",
        num_steps_factor=3,
        loss={"semantic": 0.0},
    ),
    Arm(
        name="weighted",
        words=f"as {MAIN}, pixels weighted by the gates' confidence",
        shown="variants",
        variant_confidence=True,
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
        name="object-mask",
        words=f"as {MAIN}, the mask's error averaged over objects of the label",
        shown="variants",
        loss={"mask_over": "objects"},
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


def select_arms(job: UsefulnessJob) -> tuple[Arm, ...]:
    """Arms of a job: those it names (default: all that its options allow) and those it adds.

    Raises InvalidRequest for an unknown name, an arm without the option that it needs, and a recipe
    or backbone with the name of another arm.
    """
    recipes = [arm for name in job.other_variants for arm in recipe_arms(name)]
    backbones = [arm for name in job.backbones for arm in backbone_arms(name)]
    if taken := [arm.name for arm in (*recipes, *backbones) if arm.name in ARMS]:
        raise InvalidRequest(
            f"The recipe or backbone {taken[0]!r} has the name of an arm. Name a recipe by its "
            "folder or hash, and a backbone otherwise."
        )
    added = [*map(dose_arm, job.dose), *recipes, *backbones]
    known = ARMS | {arm.name: arm for arm in added}
    if unknown := [name for name in job.arms if name not in known]:
        raise InvalidRequest(f"There is no arm {unknown[0]!r}; choose from {', '.join(known)}.")
    lacking = [arm.name for arm in known.values() if DIFFUSION in arm.recipes and not job.diffusion]
    if refused := [name for name in lacking if name in job.arms]:
        raise InvalidRequest(f"The arm {refused[0]!r} needs --diffusion with the recipe's name.")
    names = {arm.name for arm in added}
    # All, unless some are named, but weighted ones: not all variants have a confidence
    plain = {arm.name for arm in added if not arm.variant_confidence}
    implied = plain if names.isdisjoint(job.arms) else set()
    wanted = {*job.arms} | implied if job.arms else {*ARMS} - {*lacking} | implied
    return tuple(arm for name, arm in known.items() if name in wanted)
