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
            return _imported(self.classes[name], self.what)
        if not REFERENCE.fullmatch(name):
            raise InvalidRequest(
                f"found {self.what} {name!r}, expected one of {', '.join(self.classes)}: choose "
                'one, or name your own class as "package.module:Class".'
            )
        found, base = _imported(name, self.what), _imported(self.base, self.what)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise InvalidRequest(
                f"{self.what} {name!r} is not a subclass of {_dotted(base)}: derive it from that "
                f"class, or choose one of {', '.join(self.classes)}."
            )
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise InvalidRequest(
                f"{self.what} {name!r} does not define {', '.join(missing)}: implement what "
                f"{_dotted(base)} declares as abstract."
            )
        return found


def is_reference(name: str) -> bool:
    """Whether a name is of the form "package.module:Class"."""
    return REFERENCE.fullmatch(name) is not None


def _imported(reference: str, what: str) -> Any:
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing a module can raise anything
        raise InvalidRequest(
            f"{what} {reference!r}: the module {module_name} cannot be imported "
            f"({type(error).__name__}: {error}). Install its package, or put its folder on "
            "PYTHONPATH."
        ) from error
    if not hasattr(module, attribute):
        classes = [n for n, x in vars(module).items() if inspect.isclass(x) and n[0] != "_"]
        raise InvalidRequest(
            f"{what} {reference!r}: the module {module_name} has no {attribute}, only "
            f"{', '.join(sorted(classes)) or 'no classes'}. Correct the name after the colon."
        )
    return getattr(module, attribute)


def _check_options(found: type[Any], name: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for options that the constructor does not accept by keyword."""
    parameters = inspect.signature(found).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    accepted = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if unknown := sorted(options.keys() - accepted):
        raise InvalidRequest(
            f"{name!r} does not accept the options {', '.join(unknown)}, only "
            f"{', '.join(sorted(accepted)) or 'none'}: remove or rename them."
        )


def _dotted(found: type[Any]) -> str:
    return f"{found.__module__}.{found.__qualname__}"
