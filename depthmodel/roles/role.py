"""Role: what a network is trained for, as the settings of a run and as what a run asks of them.

To add a role, derive a class from `Role` in a file of its own and add a line to
`nightrain.depthmodel.roles.registry`. A role of another package is named by its class:
`TrainConfig(role={"kind": "my_package.my_module:MyRole", ...}, ...)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.index import TableRows
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.roles.objective import Objective

Option = Literal["labels", "variants", "teacher", "base"]  # of `nightrain train`


class Role(BaseModel, ABC):
    """Settings of a role; its methods are everything that training asks of a role.

    `kind` in a dump is the name under which the registry knows the class, or "package.module:Class"
    of a class that it does not know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: ClassVar[str] = ""  # of a built-in role
    options: ClassVar[frozenset[Option]] = frozenset()  # options of `nightrain train` it accepts
    frozen: Annotated[
        tuple[str, ...], Field(description='Modules that are not trained, as "encoder"')
    ] = ()

    @abstractmethod
    def objective(self, model: DepthConfig) -> Objective:
        """Build the networks to train and their loss.

        Raises InvalidRequest for weights that are missing or do not fit. A network without
        pretrained weights is initialised from torch's current generator.
        """

    @abstractmethod
    def card_words(self, data: TrainingSetConfig) -> str:
        """Describe in sentences, for the model card, what the network was trained on."""

    def check(self, model: DepthConfig, data: TrainingSetConfig) -> None:
        """Raise ValueError where the network or the training data do not fit the role."""

    def check_labels(self, folder: str, labels: TableRows) -> None:
        """Raise InvalidRequest where the labels in `labels/folder` do not fit the role."""

    @property
    def learns_labels(self) -> bool:
        """Whether the role is trained on a teacher's labels."""
        return "labels" in self.options

    @property
    def model_folders(self) -> dict[str, Path]:
        """Model folders that the role reads, by option; a run is identified by their digests."""
        given = {name: getattr(self, name) for name in ("teacher", "base") if name in self.options}
        return {name: folder for name, folder in given.items() if folder is not None}

    @classmethod
    def kind(cls) -> str:
        """Name of a built-in role, "package.module:Class" of any other."""
        return cls.name or f"{cls.__module__}:{cls.__qualname__}"

    @model_validator(mode="before")
    @classmethod
    def _without_kind(cls, fields: Any) -> Any:
        if isinstance(fields, dict):
            return {name: value for name, value in fields.items() if name != "kind"}
        return fields

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"kind": self.kind(), **handler(self)}


def require(condition: bool, field: str, reason: str) -> None:
    """Raise ValueError "field: reason" unless a condition holds."""
    if not condition:
        raise ValueError(f"{field}: {reason}")
