"""Checks of `nightrain doctor` on the Prefect server: whether a scheduled run can start."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import prefect
from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from nightrain.flows.runtime.diagnosis import Check

TIMEOUT_S = 3.0  # of a request
SCHEDULER_S = 120.0  # a schedule that is older must have runs: two turns of the scheduler
NUM_NAMED = 3
START = "start one with `prefect server start`, or correct PREFECT_API_URL"
Json = dict[str, Any]


def check_server() -> Iterator[Check]:
    """Check the server and what its schedules need; nothing without a server of the user."""
    url = PREFECT_API_URL.value()
    if not url:
        found = "none: runs use a temporary one; a schedule needs `prefect server start`"
        yield Check(name="server", ok=True, found=found)
        return
    with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_S}) as client:
        try:
            there = client.request("GET", "/admin/version").raise_for_status().json()
        except HTTPError as error:
            fix = f"{url} does not answer ({type(error).__name__}): {START}"
            yield Check(name="server", ok=False, found=url, fix=fix)
            return
        yield check_version(str(there), prefect.__version__)
        yield check_schedules(client, datetime.now(UTC))


def check_version(server: str, here: str) -> Check:
    """Check that the server is not older than this client, which it may not understand."""
    ok = _numbers(server) >= _numbers(here)
    fix = "" if ok else f"upgrade the server to prefect {here}; older ones may schedule no run"
    found = f"prefect {server} at {PREFECT_API_URL.value()}"
    return Check(name="server", ok=ok, found=found, fix=fix)


def check_schedules(client: SyncPrefectClient, now: datetime) -> Check:
    """Check that every active schedule has runs ahead, none of them late, and who starts them."""
    deployments = [d for d in _post(client, "/deployments/filter", {}) if _is_scheduled(d)]
    problems = [
        *_without_runs(client, deployments, now),
        *_late(client, deployments, now),
        *_without_starter(client, deployments),
    ]
    count = len(deployments)
    found = f"{count} active" if count else "none"
    return Check(name="schedules", ok=not problems, found=found, fix="; ".join(problems))


def _without_runs(client: SyncPrefectClient, deployments: list[Json], now: datetime) -> list[str]:
    """Schedules for which the server's scheduler has made no run."""
    found = [
        d["name"]
        for d in deployments
        if _seconds(now, d["updated"]) > SCHEDULER_S
        and not _runs(client, [d], ["Scheduled", "Late"])
    ]
    if not found:
        return []
    return [
        f"the scheduler has made no run for {_named(found)}: read the server's log, restart it, "
        "and upgrade prefect and sqlalchemy together"
    ]


def _late(client: SyncPrefectClient, deployments: list[Json], now: datetime) -> list[str]:
    """Runs that should have started."""
    runs = _runs(client, deployments, ["Late"]) if deployments else []
    if not runs:
        return []
    oldest = max(_seconds(now, run["expected_start_time"]) for run in runs)
    return [f"runs are late, the oldest by {oldest / 60:.0f} min: nothing starts them"]


def _without_starter(client: SyncPrefectClient, deployments: list[Json]) -> Iterator[str]:
    """Schedules without an online worker or a process that serves them."""
    for pool in sorted({d["work_pool_name"] for d in deployments if d["work_pool_name"]}):
        workers = _post(client, f"/work_pools/{pool}/workers/filter", {})
        if not any(worker["status"] == "ONLINE" for worker in workers):
            yield f"the work pool {pool!r} has no worker: run `prefect worker start --pool {pool}`"
    served = [d for d in deployments if not d["work_pool_name"] and d["status"] != "READY"]
    if served:
        names = _named([d["name"] for d in served])
        yield f"no process serves {names}: run its `nightrain serve` or `nightrain schedule`"


def _is_scheduled(deployment: Json) -> bool:
    return not deployment["paused"] and any(s["active"] for s in deployment["schedules"])


def _runs(client: SyncPrefectClient, deployments: list[Json], states: list[str]) -> list[Json]:
    return _post(
        client,
        "/flow_runs/filter",
        {
            "limit": 20,
            "sort": "EXPECTED_START_TIME_ASC",
            "deployments": {"id": {"any_": [d["id"] for d in deployments]}},
            "flow_runs": {"state": {"name": {"any_": states}}},
        },
    )


def _post(client: SyncPrefectClient, path: str, body: Json) -> list[Json]:
    route: Any = path  # Prefect lists its routes as a type
    return client.request("POST", route, json=body).raise_for_status().json()


def _seconds(now: datetime, time: str) -> float:
    return (now - datetime.fromisoformat(time.replace("Z", "+00:00"))).total_seconds()


def _named(names: list[str]) -> str:
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
