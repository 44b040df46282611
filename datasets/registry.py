"""Registries: built-in classes by name, and classes of other packages as "package.module:Class".

A registry holds references, not classes, so that a configuration can be read without importing
torch. Only a class of another package is imported at that point, to check it before anything runs.
"""

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightrain.datasets.errors import InvalidRequest

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Registry:
    """Implementations of one base class, by name.

    `what` is the word for these classes in error messages ("decoder"); `base` and the values of
    `classes` are references "package.module:Class".
    """

    what: str
    base: str
    classes: Mapping[str, str]

    def check(self, name: str, options: Mapping[str, Any] | None = None) -> str:
        """Return the name if it is valid; import and check a class of another package.

        `options` are keyword arguments that its constructor must accept. A built-in name is only
        looked up. Raises ValueError, so that pydantic reports the field.
        """
        try:
            if name not in self.classes:
                _check_options(self.load(name), name, options or {})
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        return name

    def load(self, name: str) -> type[Any]:
        """Return the class for a built-in name or a reference "package.module:Class".

        Raises InvalidRequest for an unknown name, a module that cannot be imported, a missing
        attribute, or a class that is not a concrete subclass of the base.
        """
        if name in self.classes:
            return import_class(self.classes[name], self.what)
        if not REFERENCE.fullmatch(name):
            raise InvalidRequest(
                f"found {self.what} {name!r:.99}, expected one of {', '.join(self.classes)}: "
                'choose one, or name your own class as "package.module:Class".'
            )
        found, base = import_class(name, self.what), import_class(self.base, self.what)
        if not (inspect.isclass(found) and issubclass(found, base)):
            other = f", or choose one of {', '.join(self.classes)}" if self.classes else ""
            raise InvalidRequest(
                f"{self.what} {name!r:.99} is not a subclass of {_dotted(base)}: derive it from "
                f"that class{other}."
            )
        missing = {*getattr(found, "__abstractmethods__", ()), *_undefined(found, base)}
        if missing:
            raise InvalidRequest(
                f"{self.what} {name!r:.99} does not define {', '.join(sorted(missing))}: define "
                f"what {_dotted(base)} declares."
            )
        return found


def is_reference(name: str) -> bool:
    """Whether a name is of the form "package.module:Class"."""
    return REFERENCE.fullmatch(name) is not None


def import_class(reference: str, what: str) -> Any:
    """Attribute of a module that a reference "package.module:Class" names.

    `what` names the kind of thing in messages. Raises InvalidRequest.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a module can raise anything
        raise InvalidRequest(
            f"{what} {reference!r:.200}: the module {module_name} cannot be imported "
            f"({one_line(error)}). Install its package, or put its folder on PYTHONPATH."
        ) from error
    if not hasattr(module, attribute):
        classes = [
            name
            for name, found in vars(module).items()
            if inspect.isclass(found) and found.__module__ == module_name and name[0] != "_"
        ]
        raise InvalidRequest(
            f"{what} {reference!r:.200}: the module {module_name} has no {attribute}, only "
            f"{', '.join(sorted(classes)) or 'no classes'}. Correct the name after the colon."
        )
    return getattr(module, attribute)


def one_line(error: BaseException) -> str:
    """Type and message of an exception in one line: "ValueError: no such file"."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def _undefined(found: type[Any], base: type[Any]) -> set[str]:
    """Class attributes that the base declares as ClassVar and the class leaves undefined."""
    declared = getattr(base, "__class_vars__", ())
    return {name for name in declared if name[0] != "_" and not hasattr(found, name)}


def _check_options(found: type[Any], name: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for options that the constructor does not accept by keyword."""
    parameters = inspect.signature(found).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    accepted = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if unknown := sorted(options.keys() - accepted):
        raise InvalidRequest(
            f"{name!r:.200} does not accept the options {', '.join(unknown)}, only "
            f"{', '.join(sorted(accepted)) or 'none'}: remove or rename them."
        )


def _dotted(found: type[Any]) -> str:
    return f"{found.__module__}.{found.__qualname__}"
