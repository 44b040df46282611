"""Prefect's global concurrency limits as turns on a GPU that several machines or flows share."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.stop import Stop

SECONDS_PER_TRY = 2.0  # how long a wish to stop may go unheard while waiting for a turn
LEASE_SECONDS = 60.0  # a killed holder blocks the others for so long, and the least Prefect allows


def require_limit(name: str) -> None:
    """Raises InvalidRequest where the server knows no limit of that name, which would hold
    nobody back.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            server = PREFECT_API_URL.value() or "the temporary one"
            raise InvalidRequest(
                f"The Prefect server ({server}) has no global concurrency limit {name!r}. Make it "
                f"with `prefect gcl create {name} --limit 1` (one shard at a time on that GPU), or "
                "name no GPU limit."
            ) from None


@contextmanager
def turn(name: str, stop: Stop) -> Iterator[bool]:
    """Hold one slot of a limit within the block; False where a wish to stop came first."""
    with ExitStack() as held:
        while not stop.requested:
            slot = concurrency(
                name,
                timeout_seconds=SECONDS_PER_TRY,
                lease_duration=LEASE_SECONDS,
                strict=True,
                # A server that is away for a moment costs the order of turns, not the shard.
                raise_on_lease_renewal_failure=False,
            )
            try:
                held.enter_context(slot)
            except TimeoutError:
                continue
            yield True
            return
        yield False
