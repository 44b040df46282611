"""Plugins: classes by name, built in or provided by installed packages through entry points.

A package registers a class under the name that users pass:

    [project.entry-points."nightrain.sources"]
    mapillary = "my_package.mapillary:MapillaryConfig"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import Registry, is_reference

T = TypeVar("T")


@dataclass(frozen=True)
class PluginGroup(Generic[T]):
    """One kind of plugin: its entry-point group, base class and built-in classes.

    A class is imported when it is loaded by name. A name belongs to one class: an entry point of a
    built-in name, or two of the same name, are refused when that name is loaded.
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

        Raises InvalidRequest for a name that is not installed or not unique, a module that cannot
        be imported, and a class that is not a complete subclass of the base.
        """
        base = f"{self.base.__module__}:{self.base.__name__}"
        registry = Registry(self.kind, base, self.built_in)
        points = tuple(entry_points(group=self.group, name=name))
        self._require_unique(name, points)
        if name in self.built_in:
            return registry.load(name)
        if not points:
            raise InvalidRequest(self._unknown(name))
        try:
            if not is_reference(reference := points[0].value):
                raise InvalidRequest(
                    f"found the entry point {reference!r}, expected package.module:Class. Correct "
                    f"it in the group {self.group!r} of the package."
                )
            return registry.load(reference)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{name!r:.80} of the package {_package(points[0])}: {error}"
            ) from error

    def _unknown(self, name: str) -> str:
        names = self.names()
        offered = (
            f"Installed: {', '.join(names)}. Name one of these, or install"
            if names
            else (f"No {self.kind} is installed. Leave it out, or install")
        )
        return (
            f"There is no {self.kind} {name!r:.80}. {offered} the package that provides it "
            f"(entry-point group {self.group!r})."
        )

    def _require_unique(self, name: str, points: Sequence[EntryPoint]) -> None:
        packages = ["nightrain"] * (name in self.built_in) + [_package(p) for p in points]
        if len(packages) > 1:
            raise InvalidRequest(
                f"found {len(packages)} classes for the {self.kind} {name!r:.80}, of the packages "
                f"{', '.join(packages)}; expected one. Rename the entry point {name!r:.80} in the "
                f"group {self.group!r}, or uninstall one of the packages."
            )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
