"""Checks of `nightrain doctor`: each reports what it found and, if that is wrong, how to fix it."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

NEEDED_FREE_GB = 5.0
TORCH_LIMIT_S = 6.0  # of the import of torch, which is slow on a busy machine
TORCH = """
import torch, torchvision.ops
print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else "")
"""
PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "prefect",
    "fastapi",
    "sqlalchemy",
    "pyarrow",
    "numpy",
    "nuscenes-devkit",
)
TORCH_OF_TORCHVISION = {"0.29": "2.15", "0.28": "2.14", "0.27": "2.13"}
NAMES = ("python", "packages", "disk", "prefect", "torch", "gpu")
REINSTALL = "run `make setup`, which installs the versions of requirements.lock"


class Check(BaseModel):
    """Result of one check: what was found, and how to fix it if it is wrong."""

    name: str
    ok: bool
    found: str
    fix: str = ""


class TorchImport:
    """Import of torch and torchvision in a process of its own, next to the other checks."""

    def __init__(self) -> None:
        self._deadline_s = time.monotonic() + TORCH_LIMIT_S
        self._process = subprocess.Popen(
            [sys.executable, "-c", TORCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._printed: tuple[str, str] | None = None

    def printed(self) -> tuple[str, str] | None:
        """Return the GPU's name and the error, each "" if there is none; None at the limit."""
        if self._printed is None:
            try:
                left_s = max(0.0, self._deadline_s - time.monotonic())
                gpu, error = self._process.communicate(timeout=left_s)
            except subprocess.TimeoutExpired:
                return None
            error = error.strip().rpartition("\n")[2] if self._process.returncode else ""
            self._printed = gpu.strip(), error
        return self._printed

    def close(self) -> None:
        """End the process, and close its pipes."""
        self._process.kill()
        with self._process:
            pass


def diagnose(folder: Path) -> Iterator[Check]:
    """Run every check; one that raises is reported as failed, with its error."""
    torch = TorchImport()
    checks: tuple[Callable[[], Check], ...] = (
        check_python,
        check_versions,
        lambda: check_disk(folder),
        check_prefect,
        lambda: check_torch(torch),
        lambda: check_gpu(torch),
    )
    try:
        for check, name in zip(checks, NAMES, strict=True):
            yield _run(check, name)
    finally:
        torch.close()


def _run(check: Callable[[], Check], name: str) -> Check:
    try:
        return check()
    except Exception as error:
        return Check(name=name, ok=False, found=f"{type(error).__name__}: {error}")


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


def check_torch(imported: TorchImport) -> Check:
    """Check that torchvision was built for this torch; if not, diffusers cannot be imported."""
    torch, vision = version("torch"), version("torchvision")
    wanted = TORCH_OF_TORCHVISION.get(".".join(vision.split(".")[:2]))
    ok = wanted is None or torch.startswith(wanted + ".")
    found = f"torch {torch}, torchvision {vision}"
    fix = "" if ok else f"torchvision {vision} was built for torch {wanted}: {REINSTALL}"
    printed = imported.printed()
    if printed is None:
        found += f"; not imported within {TORCH_LIMIT_S:.0f} s, this machine is busy"
    elif printed[1]:
        ok, fix = False, f"torchvision does not import ({printed[1]}): {REINSTALL}"
    return Check(name="torch", ok=ok, found=found, fix=fix)


def check_gpu(imported: TorchImport) -> Check:
    """Report the GPU: the weather engine needs none, but diffusion is slow without one."""
    printed = imported.printed()
    none = "none (the weather engine does not need one)"
    found = "not known, torch was not imported" if printed is None else printed[0] or none
    return Check(name="gpu", ok=True, found=found)


def check_disk(folder: Path) -> Check:
    """Check that the folder of datasets has enough free space and is writable."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    ok = free >= NEEDED_FREE_GB and os.access(folder, os.W_OK)
    fix = "" if ok else f"free at least {NEEDED_FREE_GB:.0f} GB, or write to another folder"
    return Check(name="disk", ok=ok, found=f"{free:.1f} GB free in {folder.resolve()}", fix=fix)


def check_prefect() -> Check:
    """Check that Prefect can be imported and write below its home."""
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    import prefect
    from prefect.settings import PREFECT_HOME

    home = Path(PREFECT_HOME.value())
    parent = next(p for p in (home, *home.parents) if p.exists())
    ok = os.access(parent, os.W_OK)
    fix = "" if ok else f"{home} is not writable: set PREFECT_HOME to a folder that is"
    found = f"prefect {prefect.__version__}, home {home}"
    return Check(name="prefect", ok=ok, found=found, fix=fix)
