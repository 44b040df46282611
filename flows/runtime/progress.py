"""Progress artifact: a flow run's completed share, on the Prefect server."""

import logging
import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

SECONDS_BETWEEN_UPDATES = 2.0
logger = logging.getLogger(__name__)


class Progress:
    """Completed share of a flow run; updated at most every two seconds."""

    def __init__(self, key: str, description: str) -> None:
        self._artifact = cast(UUID, create_progress_artifact(0.0, key, description))
        self._last_update_s = float("-inf")

    def show(self, share: float) -> None:
        """Show a share in [0, 1]; if the server cannot be reached, log that and continue."""
        now_s = time.monotonic()
        if share < 1.0 and now_s - self._last_update_s < SECONDS_BETWEEN_UPDATES:
            return
        self._last_update_s = now_s
        try:
            update_progress_artifact(self._artifact, 100.0 * share)
        except Exception as error:  # a progress update must not end hours of work
            logger.warning("progress was not updated: %s: %s", type(error).__name__, error)
