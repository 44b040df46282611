"""Usefulness jobs: the options of `nightrain usefulness`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nightrain.datasets.validation import Settings
from nightrain.pipelines.runs.command_line import command_line

ARM_NAMES = (  # of pipelines/usefulness/arms.py, which imports torch
    *("clear", "clear-double", "corruptions", "weather", "diffusion", "both", "true-adverse"),
    *("self-labelled", "clear-exact", "weather-exact", "diffusion-exact", "true-adverse-exact"),
    *("frames-exact", "norms", "few-parameters", "weighted", "no-mask", "no-semantic"),
    *("no-confidence", "printed-mask", "object-mask", "restored", "longer", "frozen"),
    *("restored-frozen", "dose-25", "dose-50", "dose-67"),
)
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
BACKBONE = re.compile(r"([a-z0-9][a-z0-9-]{0,19})=(.+)")  # NAME=FOLDER


class UsefulnessJob(Settings):
    """Options of `nightrain usefulness`, and parameters of the flow of that name.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

    dataset: Path = Field(
        description="Dataset folder, with frames, variants and labels",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    teacher: Path = Field(
        description="Model folder of the teacher that made the labels",
        json_schema_extra={"must_exist": True},
    )
    variants: str = Field(description="Recipe of the variants, by name, folder or hash")
    diffusion: str | None = Field(
        default=None, description="Recipe of the arms diffusion and both, by name, folder or hash"
    )
    out: Path = Field(description="Study folder; pass an existing one to resume or extend it")
    arms: tuple[str, ...] = Field(
        default=(),
        description="Arms to train (default: all that need no further option)",
        examples=list(ARM_NAMES),
    )
    seeds: tuple[Seed, ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        description="Seeds. Use at least 3; fewer are not conclusive.",
    )
    dose: tuple[Share, ...] = Field(
        default=(),
        description="Additional shares of synthetic samples, each a separate arm: 0.1,0.9",
    )
    other_variants: tuple[str, ...] = Field(
        default=(),
        description="Recipes to compare with that of --variants. Each adds two arms: "
        "its variants alone, and with those of --variants.",
    )
    backbone: tuple[str, ...] = Field(
        default=(),
        description="Teachers with another network, as NAME=FOLDER. Each adds the arms "
        "clear-NAME and weather-NAME, whose students have its network and its labels.",
    )
    foundation: tuple[Path, ...] = Field(
        default=(),
        description="Folder of a depth network that transformers saved. It is scored as it is, "
        "aligned to the true depth of each image in scale and shift.",
        json_schema_extra={"must_exist": True},
    )
    labels: str | None = Field(
        default=None,
        description="Labels to learn from: a folder below labels/, with or without its "
        "hash (default: the teacher's)",
    )
    split: Literal["val", "test"] | None = Field(
        default=None,
        description="Split to report (default: test if the dataset has one, else val). The arm "
        "to judge is selected on val if test is reported.",
    )
    steps: int | None = Field(
        default=None, ge=1, description="Number of optimiser steps (default: world-student's)"
    )
    steps_from: tuple[Path, ...] = Field(
        default=(),
        description="Folders of studies with other numbers of steps and --split val: the smallest "
        "number with an error at most 1 % above the lowest is used.",
        json_schema_extra={"must_exist": True},
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step (default: world-student's)"
    )
    workers: int = Field(default=1, ge=1, description="Runs in parallel, one thread each")
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: use a GPU if available; cpu: never use one"
    )

    @field_validator(
        "arms", "seeds", "dose", "other_variants", "backbone", "foundation", "steps_from"
    )
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{', '.join(map(str, values))}: name each value only once")
        return values

    @field_validator("backbone")
    @classmethod
    def _named(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if odd := [value for value in values if not BACKBONE.fullmatch(value)]:
            raise ValueError(
                f"{odd[0]!r}: expected NAME=FOLDER, with a name of small letters, digits and "
                "hyphens"
            )
        return values

    @model_validator(mode="after")
    def _steps_once(self) -> "UsefulnessJob":
        if self.steps and self.steps_from:
            raise ValueError("steps: --steps-from selects them; give one of both")
        return self

    @property
    def backbones(self) -> dict[str, Path]:
        """Teacher folders of other backbones, by name."""
        pairs = [value.partition("=") for value in self.backbone]
        return {name: Path(folder) for name, _, folder in pairs}

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "usefulness of weather on nuscenes"."""
        return f"usefulness of {self.variants} on {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the recipe and the arms."""
        return (self.variants, *self.arms)

    @property
    def command(self) -> str:
        """The command line of this job, without the folders of this machine."""
        short = tuple(f"{name}={folder.name}" for name, folder in self.backbones.items())
        return command_line("usefulness", self.model_copy(update={"backbone": short}))
