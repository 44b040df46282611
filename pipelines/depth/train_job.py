"""Training jobs: the options of `nightrain train`, and the run that they describe."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.training.preset_registry import PRESETS, load_preset
from nightrain.pipelines.runs.command_line import command_line

if TYPE_CHECKING:
    from nightrain.datasets.loader.config import TrainingSetConfig
    from nightrain.depthmodel.roles.role import Role
    from nightrain.depthmodel.training.config import TrainConfig
    from nightrain.depthmodel.training.loop import TrainReport
    from nightrain.pipelines.runs.stop import Stop


class TrainJob(Settings):
    """Options of `nightrain train`, and parameters of the training flows.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

    preset: str = Field(
        description="Preset of the run, or your own function as package.module:function",
        examples=list(PRESETS),
        json_schema_extra={"cli": "argument"},
    )
    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    out: Path = Field(description="Run folder; pass an existing one to resume")
    variants: tuple[str, ...] = Field(
        default=(),
        description="Recipes of the variants that a student sees, by name, folder or hash",
    )
    include_uncontrolled: bool = Field(
        default=False,
        description="Also train on variants on which no control acted, whose geometry may differ "
        "from their labels",
    )
    labels: str | None = Field(
        default=None,
        description="Folder below labels/ to learn from (default: the only one in the dataset)",
    )
    teacher: Path | None = Field(
        default=None,
        description="Model folder of the student's teacher",
        json_schema_extra={"must_exist": True},
    )
    base: Path | None = Field(
        default=None,
        description="Model folder from which to initialise parts of the same name",
        json_schema_extra={"must_exist": True},
    )
    split: Split | None = Field(
        default=None,
        description="Split to train on: train, val, test, none (in no list) or all (default: the "
        "preset's, or none if the dataset's frames are in no list)",
    )
    steps: int | None = Field(
        default=None, ge=1, description="Number of optimiser steps (default: the preset's)"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step (default: the preset's)"
    )
    workers: int | None = Field(
        default=None, ge=0, description="Data loading processes (default: the preset's)"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Seed of weights, sampling and augmentation"
    )
    tensorboard: bool = Field(default=False, description="Also write TensorBoard event files")
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: use a GPU if available; cpu: never use one"
    )

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "world-student on nuscenes"."""
        return f"{self.preset} on {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the preset and the recipes."""
        return (self.preset, *self.variants)

    @property
    def command(self) -> str:
        """The command line of this job, without the folders of this machine."""
        return command_line("train", self)

    def config(self) -> "TrainConfig":
        """The configuration of the run; raises InvalidRequest where options do not fit together."""
        from nightrain.depthmodel.training.config import checked

        changes = {
            "num_steps": self.steps,
            "batch_size": self.batch_size,
            "num_workers": self.workers,
            "seed": self.seed,
            "tensorboard": self.tensorboard or None,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            config = load_preset(self.preset).model_copy(update=given)
            self._require_accepted(config.role)
            return checked(
                config.model_copy(
                    update={"role": self._role(config.role), "data": self._data(config)}
                )
            )
        except ValidationError as error:
            problems = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise InvalidRequest(f"The options do not fit together. {problems}") from error

    def _require_accepted(self, role: "Role") -> None:
        names = ("variants", "labels", "teacher", "base")
        for name in (name for name in names if getattr(self, name) and name not in role.options):
            accepted = ", ".join(f"--{option}" for option in sorted(role.options))
            raise InvalidRequest(
                f"The preset {self.preset!r} trains a {role.kind()}, which does not accept "
                f"--{name}; it accepts {accepted or 'no data or model options'}. Leave the option "
                "out, or choose another preset."
            )

    def _role(self, role: "Role") -> "Role":
        folders = {"teacher": self.teacher, "base": self.base}
        given = {n: f.resolve() for n, f in folders.items() if f is not None}
        return role.model_copy(update=given)

    def _data(self, config: "TrainConfig") -> "TrainingSetConfig":
        update: dict[str, object] = {}
        if self.labels or config.role.learns_labels:
            update["labels"] = self.labels or only_labels(self.dataset)
        if self.variants:
            found = [variant_folders(self.dataset, name) for name in self.variants]
            update["recipes"] = tuple(dict.fromkeys(f for folders in found for f in folders))
        if self.include_uncontrolled:
            update["include_uncontrolled"] = True
        return config.data.model_copy(update=update | {"split": self._split(config.data.split)})

    def _split(self, of_preset: Split) -> Split:
        if self.split is not None:
            return self.split
        from nightrain.datasets.loader.index import default_split_of
        from nightrain.datasets.shards.manifest import Manifest

        return default_split_of(Manifest(self.dataset), of_preset)


def train_network(
    job: TrainJob, *, stop: "Stop", on_step: Callable[[int, int], None] = lambda _done, _total: None
) -> "TrainReport":
    """Train a network, or resume the run in the job's folder.

    Raises InvalidRequest, NonFiniteLoss, CorruptShard, DiskFull.
    """
    from nightrain.depthmodel.training.loop import train

    return train(
        job.config(),
        job.dataset,
        job.out,
        command=job.command,
        device=None if job.device == "auto" else job.device,
        stopped=lambda: stop.requested,
        on_step=on_step,
    )


def only_labels(dataset: Path) -> str:
    """Return the folder of the dataset's labels; raises InvalidRequest unless there is one set."""
    from nightrain.datasets.shards.manifest import Manifest

    names = sorted({t.split("/")[1] for t in Manifest(dataset).tables("labels/")})
    if len(names) != 1:
        found = f"{', '.join(names)}: name one with --labels" if names else "none"
        raise InvalidRequest(
            f"{dataset} has labels of {len(names)} teachers ({found}). "
            "Create labels with `nightrain label DATASET --teacher FOLDER`."
        )
    return names[0]


def variant_folders(dataset: Path, name: str) -> tuple[str, ...]:
    """Folders below variants/ of a recipe's name, a folder or a hash; raises InvalidRequest."""
    from nightrain.datasets.shards.manifest import Manifest
    from nightrain.datasets.shards.recipe_records import folder_of, select_tables

    return tuple(folder_of(table) for table in select_tables(Manifest(dataset), name))
