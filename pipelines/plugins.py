"""Plugins: settings classes that a recipe names, built in or from installed packages.

A package offers a class through an entry point, whose name is the one that recipes use:

    [project.entry-points."nightrain.engines"]
    haze = "my_package.haze:HazeSettings"
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.registry import Registry


class PluginSettings(BaseModel):
    """Base class of settings that a recipe selects by `name`.

    A subclass declares `name: Literal["..."] = "..."` and its own fields. Keep it light to import:
    what it builds, which may need torch, is imported by `build`. Settings without fields of their
    own are written as their bare name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str

    @abstractmethod
    def build(self) -> Any:
        """Build what the settings describe; raises InvalidRequest. See `build_once`."""

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> Any:
        fields = dump(self)
        return self.name if fields.keys() == {"name"} else fields


T = TypeVar("T", bound=PluginSettings)
_built: dict[tuple[type[PluginSettings], str], Any] = {}


def build_once(settings: PluginSettings) -> Any:
    """Return what settings build; equal settings are built once per process."""
    key = (type(settings), settings.model_dump_json())
    if key not in _built:
        _built[key] = settings.build()
    return _built[key]


@dataclass(frozen=True)
class PluginGroup(Generic[T]):
    """One kind of plugin: its entry-point group, base class and built-in classes.

    A class is imported when a recipe names it. A built-in name takes precedence over an entry
    point of the same name.
    """

    group: str  # "nightrain.engines"
    kind: str  # "engine", for error messages
    base: type[T]
    built_in: Mapping[str, str]  # name to "package.module:Class"

    def names(self) -> list[str]:
        """Return the names of all plugins, built in and installed, sorted."""
        return sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> type[T]:
        """Import the class of a name.

        Raises InvalidRequest for a name that is not installed, a module that cannot be imported
        and a class that does not derive from the base.
        """
        base = f"{self.base.__module__}:{self.base.__name__}"
        registry = Registry(self.kind, base, self.built_in)
        if name in self.built_in:
            return registry.load(name)
        for point in entry_points(group=self.group, name=name):
            return registry.load(f"{point.module}:{point.attr}")
        raise InvalidRequest(
            f"There is no {self.kind} {name!r}. Installed: {', '.join(self.names()) or 'none'}. "
            f"Name one of these, or install the package that provides {name!r} (entry-point group "
            f"{self.group!r})."
        )

    def parse(self, value: Any) -> T:
        """Validate settings: an instance, a mapping with a `name`, or a bare name.

        Raises InvalidRequest as `load` does, and ValueError for anything else that is not valid.
        """
        if isinstance(value, self.base):
            return value
        fields = {"name": value} if isinstance(value, str) else value
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise ValueError(
                f"found {value!r:.80}, expected a name or a mapping with `name`; installed: "
                f"{', '.join(self.names()) or 'none'}"
            )
        return self.load(fields["name"]).model_validate(fields)
