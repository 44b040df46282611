"""Training jobs: the options of `nightrain train`, and the run that they describe."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.training.preset_registry import PRESETS, load_preset
from nightrain.pipelines.runs.command_line import command_line

if TYPE_CHECKING:
    from nightrain.depthmodel.roles.role import Role
    from nightrain.depthmodel.training.config import TrainConfig
    from nightrain.depthmodel.training.loop import TrainReport
    from nightrain.pipelines.runs.stop import Stop


class ConfigSource(Settings):
    """Origin of a run's configuration: a preset, changed by a file and by `--set`."""

    preset: str | None = Field(
        default=None,
        description="Preset of the run, or your own function as package.module:function; omit it "
        "with --config",
        examples=list(PRESETS),
        json_schema_extra={"cli": "argument"},
    )
    config_file: Path | None = Field(
        default=None,
        description="YAML file: `preset: NAME` and the fields that differ, or a whole "
        "configuration, such as a run.json; `nightrain preset NAME` prints one to start from",
        json_schema_extra={"cli": "--config", "must_exist": True},
    )
    changes: tuple[str, ...] = Field(
        default=(),
        description="Field of the configuration by its dotted name, such as "
        "optimiser.lr.head=3e-4 or data.loss_size=[384,224]; repeatable",
        json_schema_extra={"cli": "--set", "cli_commas": False},
    )


class TrainJob(ConfigSource):
    """Options of `nightrain train`, and parameters of the training flows.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

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
        description="Labels to learn from: a folder below labels/, with or without its "
        "hash (default: the only ones in the dataset)",
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
        default=None,
        ge=1,
        description="Number of optimiser steps (default: the preset's); more than a finished run "
        "has taken continue it",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step and process (default: the preset's)"
    )
    workers: int | None = Field(
        default=None, ge=0, description="Data loading processes (default: the preset's)"
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**31,
        description="Seed of weights, sampling and augmentation (default: the preset's, 0)",
    )
    tracker: Literal["tensorboard", "wandb"] | None = Field(
        default=None,
        description="Also log to TensorBoard (files in the run folder) or Weights & Biases",
    )
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: use a GPU if available; cpu: never use one"
    )

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "world-student on nuscenes"."""
        return f"{self.source} on {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the preset and the recipes."""
        return (self.source, *self.variants)

    @property
    def source(self) -> str:
        """The preset's name, or that of the configuration file."""
        return self.preset or (self.config_file.stem if self.config_file else "")

    @property
    def command(self) -> str:
        """The command line of this job, without the folders of this machine."""
        return command_line("train", self)

    @model_validator(mode="after")
    def _has_a_source(self) -> "TrainJob":
        if self.preset is None and self.config_file is None:
            raise ValueError("found neither PRESET nor --config; name one")
        return self

    def config(self) -> "TrainConfig":
        """The configuration of the run; raises InvalidRequest where options do not fit together."""
        from nightrain.depthmodel.training.config_changes import parsed, with_changes

        fields = composed(self.preset, self.config_file, self.changes)
        role = self._role(fields.get("role"))
        self._require_accepted(role)
        changes: dict[str, object] = {
            "num_steps": self.steps,
            "batch_size": self.batch_size,
            "num_workers": self.workers,
            "seed": self.seed,
            "tracker": self.tracker,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        data = self._data(fields.get("data"), role)
        return parsed(with_changes(fields, given | {"data": data, "role": self._folders()}))

    def _require_accepted(self, role: "Role") -> None:
        names = ("variants", "labels", "teacher", "base")
        for name in (name for name in names if getattr(self, name) and name not in role.options):
            accepted = ", ".join(f"--{option}" for option in sorted(role.options))
            raise InvalidRequest(
                f"{self.source!r} trains a {role.kind()}, which does not accept "
                f"--{name}; it accepts {accepted or 'no data or model options'}. Leave the option "
                "out, or choose another preset."
            )

    def _role(self, fields: Any) -> "Role":
        """The role, before its model folders are known; raises InvalidRequest."""
        from nightrain.depthmodel.roles.role import parse_role
        from nightrain.depthmodel.training.config_changes import sentences

        try:
            return parse_role(fields)
        except ValidationError as error:
            raise InvalidRequest(" ".join(sentences(error, "role"))) from error
        except ValueError as error:
            raise InvalidRequest(f"role: {error}.") from error

    def _folders(self) -> dict[str, str]:
        folders = {"teacher": self.teacher, "base": self.base}
        return {name: str(f.resolve()) for name, f in folders.items() if f is not None}

    def _data(self, fields: Any, role: "Role") -> dict[str, object]:
        """Changes of the training set."""
        found = fields if isinstance(fields, dict) else {}
        update: dict[str, object] = {"split": self._split(found.get("split", "train"))}
        if self.labels or (role.learns_labels and not found.get("labels")):
            update["labels"] = labels_folder(self.dataset, self.labels)
        if self.variants:
            folders = [variant_folders(self.dataset, name) for name in self.variants]
            update["recipes"] = list(dict.fromkeys(f for found in folders for f in found))
        if self.include_uncontrolled:
            update["include_uncontrolled"] = True
        return update

    def _split(self, of_preset: Split) -> Split:
        if self.split is not None:
            return self.split
        from nightrain.datasets.loader.index import default_split_of
        from nightrain.datasets.shards.manifest import Manifest

        return default_split_of(Manifest(self.dataset), of_preset)


def composed(
    preset: str | None, config_file: Path | None = None, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Fields of a configuration: a preset's, changed by a file and by `--set`, in this order.

    They need not be valid yet: a student's labels come from the dataset. Raises InvalidRequest.
    """
    from nightrain.depthmodel.training.config_changes import (
        fields_of,
        read_config,
        with_changes,
        with_set,
    )

    fields: dict[str, Any] = {}
    if config_file is not None:
        of_file, fields = read_config(config_file)
        if preset is not None and of_file not in (None, preset):
            raise InvalidRequest(
                f"found the preset {preset!r} and {config_file} of the preset {of_file!r}; "
                "name one of them."
            )
        preset = preset or of_file
    if preset is not None:
        fields = with_changes(fields_of(load_preset(preset)), fields)
    return with_set(fields, changes)


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


def labels_folder(dataset: Path, name: str | None = None) -> str:
    """Return a folder below labels/: the only one, or by its name with or without the hash.

    Raises InvalidRequest where none or several match.
    """
    from nightrain.datasets.shards.manifest import Manifest

    there = sorted({t.split("/")[1] for t in Manifest(dataset).tables("labels/")})
    if name in there:
        return name
    found = [one for one in there if name is None or one.rpartition("-")[0] == name]
    if len(found) == 1:
        return found[0]
    if name is not None:
        raise InvalidRequest(
            f"{dataset} has {len(found) or 'no'} labels {name!r}; it has: "
            f"{', '.join(there) or 'none'}. Name one of these with --labels, or create labels with "
            "`nightrain label DATASET --teacher FOLDER`."
        )
    words = f"{', '.join(found)}: name one with --labels" if found else "none"
    raise InvalidRequest(
        f"{dataset} has labels of {len(found)} teachers ({words}). "
        "Create labels with `nightrain label DATASET --teacher FOLDER`."
    )


def variant_folders(dataset: Path, name: str) -> tuple[str, ...]:
    """Folders below variants/ of a recipe's name, a folder or a hash; raises InvalidRequest."""
    from nightrain.datasets.shards.manifest import Manifest
    from nightrain.datasets.shards.recipe_records import folder_of, select_tables

    return tuple(folder_of(table) for table in select_tables(Manifest(dataset), name))
