"""Parameters of flows: every flow takes one model, which is as strict as the commands' options."""

from importlib import import_module
from inspect import signature
from pkgutil import iter_modules
from typing import get_type_hints

from nightrain import flows
from nightrain.datasets.validation import Settings


def test_every_flow_takes_strict_settings() -> None:
    from prefect import Flow

    modules = [import_module(f"{flows.__name__}.{m.name}") for m in iter_modules(flows.__path__)]
    found = {
        value.name: value for m in modules for value in vars(m).values() if type(value) is Flow
    }
    assert len(found) > 12
    for flow in found.values():
        (name,) = signature(flow.fn).parameters
        kind = get_type_hints(flow.fn)[name]
        assert issubclass(kind, Settings), flow.name
