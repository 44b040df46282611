"""Builds: versions of the libraries that the bytes of a row depend on."""

import functools
from importlib.metadata import version

IMAGE_LIBRARIES = ("nightrain", "numpy", "opencv-python-headless", "simplejpeg")


@functools.cache
def builds_of(libraries: tuple[str, ...]) -> str:
    """Return names and versions of installed libraries: "nightrain 0.1.0, numpy 1.26.4"."""
    return ", ".join(f"{name} {version(name)}" for name in libraries)
