"""Loading reports: transformers' words about missing weights, replaced by errors."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nightrain.datasets.errors import InvalidRequest


@contextmanager
def quiet(*libraries: Any) -> Iterator[None]:
    """Switch off progress bars and reports within the block.

    `libraries` are the modules `transformers.utils.logging` and `diffusers.utils.logging`.
    """
    bars = [library for library in libraries if library.is_progress_bar_enabled()]
    before = [library.get_verbosity() for library in libraries]
    for library in bars:
        library.disable_progress_bar()
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        for library in bars:
            library.enable_progress_bar()
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Switch off transformers' progress bars and reports within the block."""
    from transformers.utils import logging as transformers_logging

    with quiet(transformers_logging):
        yield


def require_complete(part: str, missing: Sequence[str], wrong: Sequence[str] = ()) -> None:
    """Raise InvalidRequest for weights that a network's files lack, or have in another shape."""
    where = f"{part}/" if part else "it"
    if missing:
        raise InvalidRequest(
            f"{where} lacks {len(missing)} of the network's weights, such as {missing[0]}. Use a "
            "complete copy of the model."
        )
    if wrong:
        raise InvalidRequest(
            f"{where} has {len(wrong)} weights of another shape than its config.json says, such as "
            f"{wrong[0]}. Use a config.json and weights of the same model."
        )
