"""Deferred imports: a module is imported on use, and loaded ones are left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from nightrain.datasets.deferred_import import deferred_imports


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package `slow_one` with the module `slow_one.part`, not imported yet."""
    (tmp_path / "slow_one").mkdir()
    (tmp_path / "slow_one/__init__.py").write_text("value = 1\n")
    (tmp_path / "slow_one/part.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_one", "slow_one.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("package")
def test_a_module_is_imported_on_use() -> None:
    with deferred_imports("slow_one", "slow_one.part"):
        import slow_one.part  # pyright: ignore[reportMissingImports]
    stand_in = slow_one
    assert "slow_one" not in sys.modules and "slow_one.part" not in sys.modules
    assert stand_in.part.value == 2 and stand_in.value == 1
    assert sys.modules["slow_one"] is not stand_in
    with deferred_imports("slow_one"):
        import slow_one as again  # pyright: ignore[reportMissingImports]
    assert again is sys.modules["slow_one"]
    with pytest.raises(ImportError):
        _ = stand_in.absent


def test_nuscenes_devkit_does_not_import_scikit_learn() -> None:
    code = (
        "import sys; from nightrain.datasets.sources import scene_conditions as s; "
        "print(len(s.official_scenes()['train']), 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["700", "False"]
