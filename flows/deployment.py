"""Deployments: put flows on a schedule, and serve them or leave them to the workers of a pool.

The flow is named by its import path, so that any machine with nightrain installed can run it, from
any folder.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, Literal
from uuid import UUID

from httpx import HTTPError, HTTPStatusError
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from nightrain.datasets.errors import InvalidRequest

Overlap = Literal["wait", "skip"]  # what a run does at its time while the previous one is active
STRATEGIES: dict[Overlap, ConcurrencyLimitStrategy] = {
    "wait": ConcurrencyLimitStrategy.ENQUEUE,
    "skip": ConcurrencyLimitStrategy.CANCEL_NEW,
}


def schedule_of(cron: str | None, every_s: float | None, timezone: str) -> Schedule | None:
    """Return a schedule by cron or of a fixed interval; None without both.

    Raises InvalidRequest.
    """
    if cron is not None and every_s is not None:
        raise InvalidRequest("--cron and --every exclude each other; give one of them.")
    try:
        if cron is not None:
            CronSchedule(cron=cron, timezone=timezone)  # `Cron` checks nothing
            return Cron(cron, timezone=timezone)
        return None if every_s is None else Interval(timedelta(seconds=every_s), timezone=timezone)
    except ValueError as error:
        raise InvalidRequest(
            f"--cron {cron!r} with --timezone {timezone!r} is not valid. Expected five fields, "
            "such as '0 2 * * *' for two o'clock every night, and a name such as Europe/Berlin."
        ) from error


def deployment_of(
    flow: Flow[..., Any],
    job: dict[str, Any],
    name: str,
    schedule: Schedule | None,
    work_pool: str | None = None,
    overlap: Overlap = "wait",
) -> RunnerDeployment:
    """Return the deployment of a flow on one job; at most one of its runs is active at a time.

    With `overlap="wait"`, no run is lost, but runs that take longer than their interval queue up.
    With "skip", the server cancels them; after a run died with its machine, it still holds its
    place for some minutes, in which runs are skipped as well.
    """
    made: Any = flow.to_deployment(  # a coroutine only when called from one
        name,
        schedule=schedule,
        paused=False,
        parameters={"job": job},
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=STRATEGIES[overlap]),
        work_pool_name=work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return made


def require_server() -> str:
    """Return the address of the user's server; raises InvalidRequest without a reachable one."""
    url = PREFECT_API_URL.value()
    start = "Start one with `prefect server start` in another terminal"
    if not url:
        raise InvalidRequest(
            f"A schedule needs a Prefect server that keeps running. {start}, and run `prefect "
            "config set PREFECT_API_URL=http://127.0.0.1:4200/api`."
        )
    try:
        with get_client(sync_client=True) as client:
            client.request("GET", "/health").raise_for_status()
    except HTTPError as error:
        raise InvalidRequest(
            f"The Prefect server {url} does not answer ({type(error).__name__}). {start}, or "
            "correct PREFECT_API_URL."
        ) from error
    return url


def require_pool(name: str) -> None:
    """Raise InvalidRequest if the server has no work pool of that name."""
    try:
        with get_client(sync_client=True) as client:
            client.request("GET", "/work_pools/{name}", path_params={"name": name})
    except HTTPStatusError as error:
        raise InvalidRequest(
            f"The Prefect server has no work pool {name!r}. Create it with `prefect work-pool "
            f"create {name} --type process`."
        ) from error


def apply(deployment: RunnerDeployment) -> UUID:
    """Create or update a deployment on the server and return its id; raises InvalidRequest."""
    try:
        made: Any = deployment.apply()  # a coroutine only when called from one
        return made
    except (DeploymentApplyError, HTTPStatusError) as error:
        raise InvalidRequest(f"The server refused the deployment: {error}") from error


def serve(*deployments: RunnerDeployment) -> None:
    """Start the scheduled runs of deployments in processes of this machine, until a signal.

    A signal pauses the schedules and stops active runs after their batch; a second signal kills
    them.
    """
    runner = Runner(limit=None)
    for deployment in deployments:
        runner.add_deployment(deployment)
    with _stopped_by_signals(runner):
        asyncio.run(runner.start())


@contextmanager
def _stopped_by_signals(runner: Runner) -> Iterator[None]:
    """Let SIGINT do what Prefect lets SIGTERM do, which is to cancel the active runs."""
    logger = logging.getLogger(__name__)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if runner.stopping:
            os._exit(128 + number)
        logger.warning("stopping")
        runner.handle_sigterm(number, frame)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
