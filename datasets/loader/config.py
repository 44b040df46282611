"""Training set configuration: frames, variants, labels, and the sizes of samples."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.augment import Augmentation
from nightrain.datasets.loader.corruptions import Corruptions
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings

Side = Annotated[int, Field(ge=8, le=8192)]
FOLDER_NAME = r"^[a-z0-9][a-z0-9._-]*$"
FolderName = Annotated[str, Field(pattern=FOLDER_NAME)]


class TrainingSetConfig(Settings):
    """Selection, joins, mixing and sizes of a training set; sizes are (width, height).

    `p_clear`, the probability that a sample shows the clear frame, is 1/(C+1) ("uniform"), C/(C+1)
    ("paper-literal") or a number; C counts the conditions of the variants (SSD, eq. 3,
    docs/papers/ssd.md). The rest is uniform over the conditions that the frame has variants of.
    Frames of other conditions (`conditions`) are shown unchanged: the study arm with real weather.
    """

    split: Split = "train"
    conditions: tuple[Condition, ...] = Field(default=(Condition.CLEAR,), min_length=1)
    # The first so many drives alone (places of a world), by name: for learning curves; None: all
    max_drives: Annotated[int, Field(ge=1)] | None = None
    # Variants, by names of recipes, folders below variants/ ("weather-1a2b3c4d") or hashes
    recipes: tuple[FolderName, ...] = ()
    variant_conditions: tuple[Condition, ...] | None = None  # None: all of the recipes or twins
    twins: bool = False  # recorded twins (datasets/loader/twins.py) instead of variants
    # Also variants on which no control acted: they may not have the geometry of the frame's labels.
    include_uncontrolled: bool = False
    variant_confidence: bool = False  # gates' confidence in the pixels of variants
    labels: FolderName | None = None  # folder below labels/: the teacher's name
    neighbours: bool = False
    stereo: bool = False  # the clear stereo partner at input_size, with its geometry
    lidar_depth: bool = True
    exact_depth: bool = False
    # Share of the LiDAR and exact depth pixels that are kept, always the same ones for a frame.
    sparse_share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    input_size: tuple[Side, Side]
    loss_size: tuple[Side, Side]
    # Crop input_size at a random place in the bottom centre of this size, instead of resizing.
    crop_from: tuple[Side, Side] | None = None
    p_clear: Literal["uniform", "paper-literal"] | Annotated[float, Field(ge=0.0, le=1.0)] = (
        "uniform"
    )
    augmentation: Augmentation | None = Augmentation()
    corruptions: Corruptions | None = None  # simple corruptions instead of variants
    # Size of the row groups in one shuffling window; a worker's cache is twice as large.
    window_mb: Annotated[int, Field(ge=1, le=16_384)] = 128

    @model_validator(mode="after")
    def _checks(self) -> "TrainingSetConfig":
        if self.variant_confidence and not self.recipes:
            raise ValueError("variant_confidence: expected recipes to take variants from")
        if self.corruptions is not None and self.recipes:
            raise ValueError("corruptions replace variants: remove the recipes")
        if self.twins and (self.recipes or self.corruptions is not None):
            raise ValueError("twins replace variants and corruptions: remove the other")
        self._check_crop()
        if self.variant_conditions is not None:
            if not self.recipes and not self.twins:
                raise ValueError(
                    "variant_conditions: expected recipes to take variants from, found none"
                )
            if not self.variant_conditions or Condition.CLEAR in self.variant_conditions:
                raise ValueError(
                    "variant_conditions: expected adverse conditions; 'clear' is the frame itself"
                )
        for name in ("conditions", "recipes", "variant_conditions"):
            values = getattr(self, name) or ()
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: {list(values)} has duplicates")
        return self

    def _check_crop(self) -> None:
        """Raise ValueError where a crop does not fit, or a rotation breaks the geometry."""
        if self.crop_from is not None:
            if self.input_size != self.loss_size:
                raise ValueError(
                    f"crop_from: input_size {self.input_size} and loss_size {self.loss_size} are "
                    "of one crop; make them equal"
                )
            if any(s > c for s, c in zip(self.input_size, self.crop_from, strict=True)):
                raise ValueError(
                    f"crop_from {self.crop_from} is smaller than input_size {self.input_size}"
                )
        rotated = self.augmentation is not None and self.augmentation.rotation_deg > 0
        if rotated and (self.neighbours or self.stereo):
            raise ValueError(
                "augmentation.rotation_deg: the poses of neighbours and stereo partners are those "
                "of images that are not rotated; set it to 0"
            )

    def probability_of_clear(self, num_conditions: int) -> float:
        """Return `p_clear` as a number, given the number of conditions of the variants."""
        if self.p_clear == "uniform":
            return 1 / (num_conditions + 1)
        if self.p_clear == "paper-literal":
            return num_conditions / (num_conditions + 1)
        return self.p_clear
