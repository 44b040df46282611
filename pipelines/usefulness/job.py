"""Usefulness jobs: the options of `nightrain usefulness`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nightrain.datasets.validation import Settings
from nightrain.pipelines.runs.command_line import command_line

ARM_NAMES = (  # of pipelines/usefulness/arms.py, which imports torch
    *("clear", "clear-double", "corruptions", "weather", "true-adverse", "no-mask", "no-semantic"),
    *("no-confidence", "printed-mask", "restored", "longer", "frozen", "restored-frozen"),
    *("dose-25", "dose-50", "dose-67"),
)
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


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
    out: Path = Field(description="Study folder; pass an existing one to resume or extend it")
    arms: tuple[str, ...] = Field(
        default=(), description="Arms to train (default: all)", examples=list(ARM_NAMES)
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
    labels: str | None = Field(
        default=None,
        description="Folder below labels/ to learn from (default: the only one in the dataset)",
    )
    steps: int | None = Field(
        default=None, ge=1, description="Number of optimiser steps (default: world-student's)"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step (default: world-student's)"
    )
    workers: int = Field(default=1, ge=1, description="Runs in parallel, one thread each")
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: use a GPU if available; cpu: never use one"
    )

    @field_validator("arms", "seeds", "dose", "other_variants")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{', '.join(map(str, values))}: name each value only once")
        return values

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
        return command_line("usefulness", self)
