"""GPU limits: Prefect's global concurrency limits let flows take turns on a shared GPU."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from httpx import HTTPError, HTTPStatusError, codes
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.stop import Stop

SECONDS_BETWEEN_TRIES = 1.0
LEASE_SECONDS = 60.0  # how long a killed holder blocks others; Prefect's minimum
RENEWAL_SECONDS = 20.0

logger = logging.getLogger(__name__)


def require_limit(name: str) -> None:
    """Raise InvalidRequest if the server has no limit of that name.

    Prefect ignores an unknown limit, so every flow would use the GPU at once.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            server = PREFECT_API_URL.value() or "the temporary one"
            raise InvalidRequest(
                f"The Prefect server ({server}) has no global concurrency limit {name!r}. Create "
                f"it with `prefect gcl create {name} --limit 1` (one shard at a time on that GPU), "
                "or leave --gpu-limit out."
            ) from None


@contextmanager
def turn(name: str, stop: Stop) -> Iterator[bool]:
    """Hold one slot of a limit within the block; yield False if it was interrupted first.

    A slot is requested without a time limit of its own: `prefect.concurrency.sync.concurrency`
    with a timeout forgets a slot that a slow server grants late, which then stays occupied until
    its lease ends, so that every later try fails in the same way.
    """
    with get_client(sync_client=True) as client:
        lease = _acquire(client, name, stop)
        if lease is None:
            yield False
            return
        ended = threading.Event()
        renewal = threading.Thread(target=_renew, args=(lease, ended), daemon=True)
        renewal.start()
        try:
            yield True
        finally:
            ended.set()
            _release(client, lease)


def _acquire(client: SyncPrefectClient, name: str, stop: Stop) -> UUID | None:
    """Wait for a slot and return its lease; None if a stop or a pause was requested first."""
    while not stop.interrupted:
        try:
            answer = client.increment_concurrency_slots_with_lease(
                [name], 1, "concurrency", LEASE_SECONDS
            )
            return UUID(answer.json()["lease_id"])
        except HTTPStatusError as error:
            if error.response.status_code != codes.LOCKED:
                raise
        except HTTPError as error:  # a server that is restarting must not fail the shard
            logger.warning("no answer about limit %s, will retry: %s", name, error)
        stop.wait(SECONDS_BETWEEN_TRIES)
    return None


def _renew(lease: UUID, ended: threading.Event) -> None:
    """Renew a lease until `ended` is set; a server that cannot be reached is logged."""
    with get_client(sync_client=True) as client:
        while not ended.wait(RENEWAL_SECONDS):
            try:
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
            except HTTPError as error:
                logger.warning("the lease of a GPU slot was not renewed: %s", error)


def _release(client: SyncPrefectClient, lease: UUID) -> None:
    try:
        client.release_concurrency_slots_with_lease(lease)
    except HTTPError as error:
        logger.warning("a GPU slot is free only after %.0f s: %s", LEASE_SECONDS, error)
