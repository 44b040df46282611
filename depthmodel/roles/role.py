"""Role: the purpose a network is trained for, such as teacher or student; and the table of roles.

To add a role, derive a class from `Role` in its own file and add a line to ROLES. Name a role of
another package by its class:
`TrainConfig(role={"kind": "my_package.my_module:MyRole", ...}, ...)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    model_serializer,
    model_validator,
)

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.table_rows import TableRows
from nightrain.datasets.registry import Registry
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.roles.objective import Objective

ROLES = Registry(
    what="role",
    base="nightrain.depthmodel.roles.role:Role",
    classes={
        "teacher": "nightrain.depthmodel.roles.teacher:TeacherRole",
        "student": "nightrain.depthmodel.roles.student:StudentRole",
        "restorer": "nightrain.depthmodel.roles.restorer:RestorerRole",
    },
)
Option = Literal["labels", "variants", "teacher", "base"]  # of `nightrain train`


class Role(Settings, ABC):
    """Settings of a role; its methods are the interface that training uses.

    `kind` in a dump is the name of the class in ROLES, or "package.module:Class" of another class.
    """

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
        """Name of the class in ROLES, "package.module:Class" of another class."""
        reference = f"{cls.__module__}:{cls.__qualname__}"
        names = (name for name, found in ROLES.classes.items() if found == reference)
        return next(names, reference)

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


def parse_role(value: Any) -> Role:
    """Return a role from its settings, with its name or "package.module:Class" as `kind`.

    A role is returned unchanged. Raises ValueError for settings without `kind`, an unknown name,
    and a class that cannot be imported or is not a role.
    """
    if isinstance(value, Role):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise ValueError(
            f"a role needs a `kind`: one of {', '.join(ROLES.classes)}, or package.module:Class"
        )
    try:
        role: type[Role] = ROLES.load(value["kind"])
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
    return role.model_validate(dict(value))


AnyRole = Annotated[SerializeAsAny[Role], BeforeValidator(parse_role)]
