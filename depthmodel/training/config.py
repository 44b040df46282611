"""Configuration of a training run, stored with its results."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.roles.objective import Objective
from nightrain.depthmodel.roles.role import AnyRole
from nightrain.depthmodel.training.optimiser import OptimiserConfig

Count = Annotated[int, Field(ge=1)]


class TrainConfig(Settings):
    """Everything that determines a run's result, and how it is run and logged.

    `batch_size` is of one process; `average_decay` is that of the exponential moving average of the
    weights, None keeps none; `precision` "auto" is bfloat16 on a GPU that supports it.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    role: AnyRole
    model: DepthConfig
    data: TrainingSetConfig
    optimiser: OptimiserConfig = OptimiserConfig()
    num_steps: Count
    batch_size: Count
    num_workers: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    average_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.999
    precision: Literal["float32", "bfloat16", "auto"] = "auto"
    compile: bool = False
    report_every: Count = 50
    checkpoint_every: Count = 500
    pictures_every: Count | None = None
    tracker: Literal["tensorboard", "wandb"] | None = None  # next to metrics.jsonl

    @model_validator(mode="after")
    def _role_fits(self) -> "TrainConfig":
        self.role.check(self.model, self.data)
        return self

    def objective(self) -> Objective:
        """Build the networks and the loss of the run; raises InvalidRequest.

        A network without pretrained weights is initialised from torch's current generator.
        """
        objective = self.role.objective(self.model)
        objective.model.freeze(self.role.frozen)
        return objective


def checked(config: TrainConfig) -> TrainConfig:
    """Return the configuration after running every check again; raises ValueError."""
    return TrainConfig.model_validate(config.model_dump())
