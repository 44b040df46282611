"""Deferred imports: what a library imports at its top is imported only when it is used.

nuscenes-devkit imports scikit-learn for metrics that are never used here, which takes two seconds.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class DeferredModule(ModuleType):
    """Stands for a module, and imports it when one of its attributes is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the import system, which must find nothing
            raise AttributeError(name)
        module = import_module(self.__name__)
        if not hasattr(module, name):
            import_module(f"{self.__name__}.{name}")
        return getattr(module, name)


@contextmanager
def deferred_imports(*names: str) -> Iterator[None]:
    """Let `import NAME` within the block bind a stand-in; modules that are loaded stay as they are.

    `from NAME import X` would still import the module.
    """
    stand_ins = {name: DeferredModule(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
