"""Loading without progress bars: a run has its own, and a log file can do without."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Switch the libraries' progress bars off for a while."""
    switched = [x for x in (diffusers_logging, transformers_logging) if x.is_progress_bar_enabled()]
    for logging in switched:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging in switched:
            logging.enable_progress_bar()
