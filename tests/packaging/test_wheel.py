"""The wheel installs as `nightrain` next to Hugging Face's `datasets`; neither hides the other."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT

BARE_NAMES = ("datasets", "depthmodel", "pipelines", "flows", "benchmarks", "tests", "src")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("nightrain-*.whl")
    return built


def test_everything_in_the_wheel_is_below_nightrain(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nightrain"}
    assert not any(name.startswith("nightrain/benchmarks/") for name in names)
    assert "nightrain/py.typed" in names and "nightrain/pipelines/recipes/weather.yaml" in names
    page = {f"nightrain/{p.relative_to(ROOT)}" for p in (ROOT / "pipelines/browse/page").iterdir()}
    assert len(page) >= 10 and page <= set(names)
    for folder in ("pipelines/small_diffusion/weights", "depthmodel/completion/weights"):
        sums = (ROOT / folder / "SHA256SUMS").read_text().splitlines()
        assert {f"nightrain/{folder}/{line.split('  ')[1]}" for line in sums} <= set(names)
    sources = {
        f"nightrain/{path.relative_to(ROOT)}"
        for package in ("datasets", "depthmodel", "pipelines", "flows")
        for path in (ROOT / package).rglob("*.py")
    }
    assert sources and sources <= set(names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment that holds the wheel and what this environment installed.

    The dependencies, Hugging Face's `datasets` among them, come from this environment's
    site-packages through a .pth file; the editable install of the checkout stays out.
    """
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    uv = Path(sys.executable).with_name("uv")
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run_python(python: Path, code: str, cwd: Path) -> str:
    """What a program prints in the fresh environment, away from the checkout."""
    return subprocess.check_output([python, "-I", "-c", code], text=True, cwd=cwd).strip()


def test_both_libraries_are_importable(installed: Path, tmp_path: Path) -> None:
    code = (
        "import datasets, nightrain.datasets.frame, nightrain.flows.cli\n"
        "print(nightrain.datasets.frame.__file__, datasets.__file__)\n"
        "print(datasets.Dataset.from_dict({'a': [1]})[0]['a'])"
    )
    ours, theirs, value = run_python(installed, code, tmp_path).split()
    assert Path(ours).is_relative_to(installed.parent.parent) and value == "1"
    assert Path(theirs).parent.name == "datasets" and "nightrain" not in theirs


@pytest.mark.slow
def test_trainer_and_recipes_work_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`transformers.Trainer` asks for `datasets`; recipes are read from inside the wheel."""
    code = (
        "from transformers import Trainer\n"
        "from transformers.utils import is_datasets_available\n"
        "from nightrain.pipelines.recipes.recipe_file import load_recipe\n"
        "print(is_datasets_available(), load_recipe('weather').name)"
    )
    assert run_python(installed, code, tmp_path) == "True weather"


def test_no_folder_of_the_checkout_is_importable(installed: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.util import find_spec\n"
        f"print(*(n for n in {BARE_NAMES[1:]} if find_spec(n)))"
    )
    assert run_python(installed, code, tmp_path) == ""
