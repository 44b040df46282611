"""Plugins: classes by name, built in or provided by installed packages through entry points.

A package registers a class under the name that users pass:

    [project.entry-points."nightrain.sources"]
    mapillary = "my_package.mapillary:MapillaryConfig"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True)
class PluginGroup(Generic[T]):
    """One kind of plugin: its entry-point group, base class and built-in classes.

    A class is imported when it is loaded by name. A built-in name takes precedence over an entry
    point of the same name.
    """

    group: str  # "nightrain.sources"
    kind: str  # "source", for error messages
    base: type[T]
    built_in: Mapping[str, str]  # name to "package.module:Class"

    def names(self) -> list[str]:
        """Names of all plugins, built in and installed, sorted."""
        return sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> type[T]:
        """Import the class with this name.

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
