"""Plugins: classes by name, built in or offered by installed packages through entry points.

A package offers a class under the name that users give:

    [project.entry-points."nightrain.sources"]
    mapillary = "my_package.mapillary:MapillaryConfig"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from nightrain.datasets.errors import InvalidRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[T]):
    """Kind of plugin: its entry-point group, base class and built-in classes.

    A class is imported when it is loaded by name. A built-in name takes precedence over an entry
    point of the same name.
    """

    group: str  # "nightrain.sources"
    kind: str  # "source", for error messages
    base: type[T]
    built_in: Mapping[str, str]  # name to "package.module:Class"

    def names(self) -> list[str]:
        """Names of all plugins: the built-in ones in their order, then installed ones, sorted."""
        installed = {point.name for point in entry_points(group=self.group)}
        return [*self.built_in, *sorted(installed - self.built_in.keys())]

    def load(self, name: str) -> type[T]:
        """Import the class of a name.

        Raises InvalidRequest for an unknown name, a class that cannot be imported and one that does
        not derive from the base class.
        """
        point = self._entry_point(name)
        where = f"{self.kind} {name!r} ({point.value})"
        try:
            found: Any = point.load()
        except Exception as error:  # whatever the module raises while it is imported
            raise InvalidRequest(
                f"The {where} cannot be imported: {type(error).__name__}: {error}. Repair or "
                f"remove the package that provides it, or choose another "
                f"{self.kind}: {self.offer()}."
            ) from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise InvalidRequest(
                f"The {where} is not a subclass of {self.base.__module__}.{self.base.__name__}. "
                f"Correct its entry point in the group {self.group!r}, or choose another "
                f"{self.kind}: {self.offer()}."
            )
        return found

    def offer(self) -> str:
        """Names of all plugins as one text, for messages."""
        return ", ".join(self.names()) or "none"

    def _entry_point(self, name: str) -> EntryPoint:
        if name in self.built_in:
            return EntryPoint(name, self.built_in[name], self.group)
        for point in entry_points(group=self.group, name=name):
            return point
        raise InvalidRequest(
            f"There is no {self.kind} {name!r}; available: {self.offer()}. Choose one of these, or "
            f"install the package that provides {name!r} (entry-point group {self.group!r})."
        )
