"""Checks of `nightrain doctor`: each reports what it found and, if that is wrong, how to fix it."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

NEEDED_FREE_GB = 5.0
PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "prefect",
    "fastapi",
    "pyarrow",
    "numpy",
    "nuscenes-devkit",
)
TORCH_OF_TORCHVISION = {"0.29": "2.15", "0.28": "2.14", "0.27": "2.13"}
REINSTALL = "run `make setup`, which installs the versions of requirements.lock"


class Check(BaseModel):
    """Result of one check: what was found, and how to fix it if it is wrong."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def diagnose(folder: Path) -> Iterator[Check]:
    """Run every check; one that raises is reported as failed, with its error."""
    checks: tuple[Callable[[], Check], ...] = (
        check_python,
        check_versions,
        check_torch,
        check_gpu,
        lambda: check_disk(folder),
        check_prefect,
    )
    for check in checks:
        try:
            yield check()
        except Exception as error:
            name = getattr(check, "__name__", "disk").removeprefix("check_")
            yield Check(name=name, ok=False, found=f"{type(error).__name__}: {error}")


def check_python() -> Check:
    """Check that every pinned package supports this Python."""
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    fix = "" if ok else "use Python 3.11 or 3.12: nuscenes-devkit needs numpy < 2"
    return Check(name="python", ok=ok, found=platform.python_version(), fix=fix)


def check_versions() -> Check:
    """Check that every package is installed."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    fix = f"{', '.join(missing)} missing: {REINSTALL}" if missing else ""
    return Check(name="packages", ok=not missing, found=", ".join(found), fix=fix)


def check_torch() -> Check:
    """Check that torchvision was built for this torch; if not, diffusers cannot be imported."""
    torch, vision = version("torch"), version("torchvision")
    wanted = TORCH_OF_TORCHVISION.get(".".join(vision.split(".")[:2]))
    ok = wanted is None or torch.startswith(wanted + ".")
    fix = "" if ok else f"torchvision {vision} was built for torch {wanted}: {REINSTALL}"
    try:
        import_module("torchvision.ops")
    except (ImportError, RuntimeError) as error:
        ok, fix = False, f"torchvision does not import ({error}): {REINSTALL}"
    return Check(name="torch", ok=ok, found=f"torch {torch}, torchvision {vision}", fix=fix)


def check_gpu() -> Check:
    """Report the GPU: the weather engine needs none, but diffusion is slow without one."""
    import torch

    if torch.cuda.is_available():
        return Check(name="gpu", ok=True, found=torch.cuda.get_device_name(0))
    return Check(name="gpu", ok=True, found="none (the weather engine does not need one)")


def check_disk(folder: Path) -> Check:
    """Check that the folder of datasets has enough free space and is writable."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    ok = free >= NEEDED_FREE_GB and os.access(folder, os.W_OK)
    fix = "" if ok else f"free at least {NEEDED_FREE_GB:.0f} GB, or write to another folder"
    return Check(name="disk", ok=ok, found=f"{free:.1f} GB free in {folder.resolve()}", fix=fix)


def check_prefect() -> Check:
    """Check that Prefect can be imported, and report the server that a flow would use."""
    import prefect
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    url = PREFECT_API_URL.value()
    home = Path(PREFECT_HOME.value())
    found = f"prefect {prefect.__version__}, " + (
        f"server {url}" if url else f"temporary server on loopback, home {home}"
    )
    parent = next(p for p in (home, *home.parents) if p.exists())
    ok = bool(url) or os.access(parent, os.W_OK)
    fix = "" if ok else f"{home} is not writable: set PREFECT_HOME to a folder that is"
    return Check(name="prefect", ok=ok, found=found, fix=fix)
