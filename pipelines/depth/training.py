"""Training jobs: a preset, a dataset's tables and a run folder; what flows and commands call."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.runs.stop import Stop

if TYPE_CHECKING:
    from nightrain.depthmodel.roles.config import TrainConfig
    from nightrain.depthmodel.training.loop import TrainReport


class TrainJob(BaseModel):
    """What `nightrain train` and the flows `train-teacher` and `train-student` are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    preset: str = Field(description="Name of a preset: world-teacher, world-student, ...")
    dataset: Path = Field(description="Folder of the dataset")
    run: Path = Field(description="Folder of the run; the same folder goes on with it")
    recipes: tuple[str, ...] = Field(default=(), description="Recipes whose variants are shown")
    labels: str | None = Field(default=None, description="Folder below labels/; None: the only one")
    teacher: Path | None = Field(default=None, description="Folder of the teacher's model")
    base: Path | None = Field(default=None, description="Folder of the model to start from")
    num_steps: int | None = Field(default=None, ge=1, description="Steps; None: the preset's")
    batch_size: int | None = Field(default=None, ge=1, description="Batch; None: the preset's")
    num_workers: int | None = Field(default=None, ge=0, description="Processes that read samples")
    seed: int = Field(default=0, ge=0)
    tensorboard: bool = Field(default=False, description="Also write TensorBoard's files")
    device: str | None = Field(default=None, description="cpu: stay off a GPU")

    def config(self) -> "TrainConfig":
        """The run's configuration; raises InvalidRequest for what does not fit together."""
        from pydantic import ValidationError

        from nightrain.depthmodel.roles.config import RestorerConfig, StudentConfig
        from nightrain.depthmodel.training.presets import (
            PRESETS,
            checked,
            with_base,
            with_student_data,
        )

        if self.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise InvalidRequest(f"There is no preset {self.preset!r}; choose one of {known}.")
        preset = PRESETS[self.preset]()
        asked = {
            "num_steps": self.num_steps,
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "seed": self.seed,
            "tensorboard": self.tensorboard or None,
        }
        changes = {name: value for name, value in asked.items() if value is not None}
        try:
            config = preset.model_copy(update=changes)
            restores = isinstance(config.role, RestorerConfig)
            if self.base is not None and not restores:
                raise InvalidRequest(
                    f"The preset {self.preset!r} starts from no base: leave --base out, or name a "
                    "student's teacher with --teacher."
                )
            if isinstance(config.role, StudentConfig):
                return with_student_data(
                    config,
                    labels=self.labels or only_labels(self.dataset),
                    recipes=tuple(recipe_folder(self.dataset, name) for name in self.recipes),
                    teacher=None if self.teacher is None else self.teacher.resolve(),
                )
            if self.recipes or self.labels or self.teacher:
                raise InvalidRequest(
                    f"The preset {self.preset!r} sees clear frames alone, without "
                    "variants, labels or another teacher. Leave these options out."
                )
            if restores:
                return with_base(config, None if self.base is None else self.base.resolve())
            return checked(config)
        except ValidationError as error:
            problems = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise InvalidRequest(f"The run does not fit together. {problems}") from error


def train_network(
    job: TrainJob, *, stop: Stop, on_step: Callable[[int, int], None] = lambda _done, _total: None
) -> "TrainReport":
    """Train, or go on with what is there.

    Raises InvalidRequest, NonFiniteLoss, CorruptShard, DiskFull.
    """
    from nightrain.depthmodel.training.loop import train

    return train(
        job.config(),
        job.dataset,
        job.run,
        command=command_of(job),
        device=job.device,
        stopped=lambda: stop.requested,
        on_step=on_step,
    )


def command_of(job: TrainJob) -> str:
    """The command line of a job, without paths beyond their last part."""
    parts = ["nightrain", "train", job.preset, job.dataset.name, "--out", job.run.name]
    parts += [part for recipe in job.recipes for part in ("--variants", recipe)]
    options = {"--labels": job.labels, "--steps": job.num_steps, "--batch-size": job.batch_size}
    for option, value in options.items():
        parts += [option, str(value)] if value is not None else []
    parts += ["--teacher", job.teacher.name] if job.teacher else []
    parts += ["--base", job.base.name] if job.base else []
    return " ".join([*parts, "--seed", str(job.seed)])


def only_labels(dataset: Path) -> str:
    """The dataset's labels, where there is one set; raises InvalidRequest."""
    names = sorted({t.split("/")[1] for t in Manifest(dataset).tables("labels/")})
    if len(names) != 1:
        found = f"{', '.join(names)}: name one with --labels" if names else "none"
        raise InvalidRequest(
            f"{dataset} has labels of {len(names)} teachers ({found}). "
            "`nightrain label DATASET --teacher FOLDER` makes them."
        )
    return names[0]


def recipe_folder(dataset: Path, name: str) -> str:
    """The folder below variants/ of a recipe by its name or folder; raises InvalidRequest."""
    folders = sorted({t.split("/")[1] for t in Manifest(dataset).tables("variants/")})
    found = [f for f in folders if f == name or f.rpartition("-")[0] == name]
    if len(found) != 1:
        what = "no variants" if not found else f"variants of {len(found)} recipes"
        raise InvalidRequest(
            f"{dataset} has {what} called {name!r}; there are: {', '.join(folders) or 'none'}. "
            "Give the folder's name, or run `nightrain generate` first."
        )
    return found[0]
