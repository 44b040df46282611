"""The rules of the house, read from the source: names, directions, hosts."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

ORDER = ("datasets", "depthmodel", "pipelines", "flows")  # each may import those before it


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_one_way(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    back = {path.name: names for path in modules(package) if (names := imported(path) & later)}
    assert modules(package) and not back


def test_only_flows_imports_prefect() -> None:
    assert not [p for name in ORDER[:3] for p in modules(name) if "prefect" in imported(p)]
    assert any("prefect" in imported(p) for p in modules("flows"))


def test_datasets_stays_light() -> None:
    """Only what hands samples to training knows torch."""
    heavy = {"torch", "diffusers", "transformers", "controlnet_aux"}
    found = {p.name: imported(p) & heavy for p in modules("datasets") if imported(p) & heavy}
    assert found == {"loader.py": {"torch"}, "packing.py": {"torch"}}


def test_no_registry_host_and_no_unsafe_loading_in_the_repository() -> None:
    hosts = "py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)|deb\.deb" + r"ian\.org"
    loaders = r"yaml\.load\(|pickle\.load|torch\.load\("
    for path in [*ROOT.glob("*"), *(p for name in ORDER for p in modules(name))]:
        if path.is_file():
            text = path.read_text(errors="ignore")
            assert not re.search(hosts, text), path
            assert path.suffix != ".py" or not re.search(loaders, text), path


def test_help_is_light() -> None:
    """`nightrain --help` imports nothing slow; its time is measured in benchmarks/."""
    code = "import sys, nightrain.flows.cli; print(*(m.split('.')[0] for m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    slow = {"prefect", "torch", "diffusers", "pyarrow", "cv2", "numpy", "nuscenes", "matplotlib"}
    assert not slow & set(run.stdout.split())
