"""Registries: built-in names, references to other packages, and what is refused."""

import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import Registry, is_reference
from support.paths import ROOT


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float = 1.0) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


SHAPES = Registry("shape", f"{__name__}:Shape", {"square": f"{__name__}:Square"})
MODULE = f"""
from {__name__} import Shape
class Round(Shape):
    def __init__(self, *, radius=1.0): self.radius = radius
    def area(self): return 3.0
class Flat(Shape): pass
class Other: pass
number = 3
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "user_shapes.py").write_text(MODULE)
    (tmp_path / "user_broken.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "user_shapes", raising=False)
    return "user_shapes"


def test_a_name_leads_to_its_class_and_a_reference_to_that_of_another_package(
    user_module: str,
) -> None:
    assert SHAPES.load("square") is Square
    assert SHAPES.load(f"{user_module}:Round")().area() == 3.0
    assert SHAPES.check(f"{user_module}:Round", {"radius": 2.0}) == f"{user_module}:Round"
    assert is_reference("a.b:C") and not is_reference("square") and not is_reference("a.b:")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("circle", {}, "found shape 'circle', expected one of square.*package.module:Class"),
        ("../etc:passwd", {}, "expected one of square"),
        ("nowhere.module:Round", {}, "nowhere.module cannot be imported.*PYTHONPATH"),
        ("user_broken:Round", {}, "cannot be imported .RuntimeError: no licence"),
        ("user_shapes:Rond", {}, r"has no Rond, only Flat, Other, Round. Correct"),
        ("user_shapes:Other", {}, "is not a subclass of .*Shape"),
        ("user_shapes:number", {}, "is not a subclass of .*Shape"),
        ("user_shapes:Flat", {}, "does not define area"),
        ("user_shapes:Round", {"side": 1}, "does not accept the options side, only radius"),
    ],
)
def test_what_is_refused_says_what_was_found_and_what_is_offered(
    user_module: str, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SHAPES.check(name, options)
    if not options:
        with pytest.raises(InvalidRequest, match=message):
            SHAPES.load(name)


def test_the_registry_loads_no_torch() -> None:
    code = "import sys, nightrain.datasets.registry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
