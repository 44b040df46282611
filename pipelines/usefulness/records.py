"""Records of a study folder: the settings of the study and of each arm, written once."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import in_one_line
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.depthmodel.training.run_folder import differences, read_stored
from nightrain.pipelines.usefulness.arms import ARMS, Arm

STUDY_FILE, ARM_FILE = "study.json", "arm.json"


class Study(BaseModel):
    """Settings that all arms share, so that their scores can be compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    frames: str  # digest of the table of train frames
    teacher: str  # digest of its weights
    labels: str
    variants: tuple[str, ...]  # folders below variants/
    num_steps: int
    batch_size: int
    input_size: tuple[int, int]
    settings: EvaluationSettings  # of the split that is reported
    selected_on: Split | None = None  # split that selects the arm to judge
    # abs_rel on val by number of steps, where that number was selected
    errors_on_val: dict[int, float] = Field(default_factory=dict)


class ArmFacts(BaseModel):
    """An arm and the size of its training data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: Arm
    recipes: tuple[str, ...] = ()  # folders below variants/
    teacher: str = ""  # digest
    num_steps: int
    synthetic_share: float  # of the samples, expected
    num_images: int  # train frames
    num_scenes: int
    num_drives: int


def stored_arms(out: Path) -> tuple[ArmFacts, ...]:
    """All arms of a study folder, also of earlier jobs: in the order of ARMS, then by name.

    Raises NightrainError for an unreadable file.
    """
    place = {name: number for number, name in enumerate(ARMS)}
    found = []
    for path in (folder / ARM_FILE for folder in matching(out, "*")):
        if not path.exists():
            continue
        try:
            found.append(ArmFacts.model_validate(read_stored(path, "arm")))
        except ValidationError as error:
            raise NightrainError(
                f"{path} cannot be read: {in_one_line(error)}. Remove it."
            ) from error
    return tuple(sorted(found, key=lambda f: (place.get(f.arm.name, len(place)), f.arm.name)))


def write_settings(path: Path, kind: str, value: BaseModel) -> None:
    """Write the settings of a folder once; raises InvalidRequest where it has other settings."""
    settings = value.model_dump(mode="json")
    if not path.exists():
        write_whole(path, record_bytes(kind, settings))
    elif different := list(differences(read_stored(path, kind), settings)):
        raise InvalidRequest(
            f"{path.parent} has other settings: {'; '.join(different)}. Name another folder, or "
            "remove this one to start again."
        )
