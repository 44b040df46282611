"""GPU limits: Prefect's global concurrency limits let flows take turns on a shared GPU."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.stop import Stop

SECONDS_PER_TRY = 2.0  # the longest delay of a stop request while waiting for a slot
LEASE_SECONDS = 60.0  # how long a killed holder blocks others; Prefect's minimum


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
    """Hold one slot of a limit within the block; yield False if a stop was requested first."""
    with ExitStack() as held:
        while not stop.requested:
            slot = concurrency(
                name,
                timeout_seconds=SECONDS_PER_TRY,
                lease_duration=LEASE_SECONDS,
                strict=True,
                # A server that is briefly unreachable must not fail the shard.
                raise_on_lease_renewal_failure=False,
            )
            try:
                held.enter_context(slot)
            except TimeoutError:
                continue
            yield True
            return
        yield False
