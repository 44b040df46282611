"""Plugins: settings classes that a recipe names, built in or from installed packages.

A package registers a class as an entry point, under the name that recipes use:

    [project.entry-points."nightrain.engines"]
    haze = "my_package.haze:HazeSettings"
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from nightrain.datasets.plugins import PluginGroup
from nightrain.datasets.validation import Settings, problems


class PluginSettings(Settings):
    """Base class of settings that a recipe selects by `name`.

    A subclass declares `name: Literal["..."] = "..."` and its own fields. Keep it light to import:
    let `build` import what it builds, which may need torch. Settings without fields of their own
    are serialised as their bare name.
    """

    name: str

    @abstractmethod
    def build(self) -> Any:
        """Build the object that the settings describe; raises InvalidRequest. See `build_once`."""

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> Any:
        fields = dump(self)
        return self.name if fields.keys() == {"name"} else fields


T = TypeVar("T", bound=PluginSettings)
_built: dict[tuple[type[PluginSettings], str, str], Any] = {}


def build_once(settings: PluginSettings) -> Any:
    """Return the object that settings build; equal settings are built once per process.

    Settings whose relative paths are below different datasets are not equal.
    """
    key = (type(settings), settings.model_dump_json(), repr(settings.__pydantic_private__))
    if key not in _built:
        _built[key] = settings.build()
    return _built[key]


class SettingsGroup(PluginGroup[T]):
    """One kind of plugin that recipes configure: each class is a settings model."""

    def parse(self, value: Any) -> T:
        """Validate settings: an instance, a mapping with a `name`, or a bare name.

        Raises InvalidRequest as `load` does, and ValueError for anything else that is not valid,
        with one sentence per problem.
        """
        if isinstance(value, self.base):
            return value
        fields = {"name": value} if isinstance(value, str) else value
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise ValueError(
                f"found {value!r:.80}, expected a name or a mapping with `name`; installed: "
                f"{', '.join(self.names()) or 'none'}"
            )
        model = self.load(fields["name"])
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise ValueError("; ".join(problems(model, error))) from error
