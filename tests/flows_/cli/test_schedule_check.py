"""`nightrain doctor` on a server: what keeps a scheduled run from starting is named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Server:
    """Answers with what a test says is there, in the API's form."""

    def __init__(self) -> None:
        self.deployment: dict[str, Any] = {
            "id": "1",
            "name": "nightly",
            "updated": ago(3600),
            "paused": False,
            "schedules": [{"active": True}],
            "work_pool_name": None,
            "status": "READY",
        }
        self.states, self.workers = {"Scheduled": -3600.0}, ["ONLINE"]

    def request(self, _method: str, path: str, json: dict[str, Any]) -> httpx.Response:
        if path == "/deployments/filter":
            found: list[dict[str, Any]] = [self.deployment]
        elif path == "/flow_runs/filter":
            wanted = json["flow_runs"]["state"]["name"]["any_"]
            found = [
                {"expected_start_time": ago(seconds)}
                for state, seconds in self.states.items()
                if state in wanted
            ]
        else:
            assert path == "/work_pools/night/workers/filter"
            found = [{"status": status} for status in self.workers]
        return httpx.Response(200, json=found, request=httpx.Request("POST", "http://test"))


def found(server: Server) -> tuple[bool, str, str]:
    import nightrain.flows  # noqa: F401  (its settings must be there before prefect is imported)
    from nightrain.flows.runtime.schedule_check import check_schedules

    check = check_schedules(server, NOW)  # pyright: ignore[reportArgumentType]
    return check.ok, check.found, check.fix


def test_a_served_schedule_with_runs_ahead_is_fine() -> None:
    assert found(Server()) == (True, "1 active", "")


def test_paused_schedules_need_nothing() -> None:
    server = Server()
    server.deployment.update(paused=True, status="NOT_READY")
    assert found(server) == (True, "none", "")


def test_a_scheduler_that_makes_no_run_is_found() -> None:
    """As with prefect 3.8.8 and sqlalchemy 2.1, while everything else says that all is well."""
    server = Server()
    server.states = {}
    ok, _, fix = found(server)
    assert not ok and "the scheduler has made no run for nightly" in fix
    server.deployment["updated"] = ago(10)  # it has not had its turn
    assert found(server)[0]


def test_late_runs_are_found() -> None:
    server = Server()
    server.states["Late"] = 600.0
    ok, _, fix = found(server)
    assert not ok and fix == "runs are late, the oldest by 10 min: nothing starts them"


@pytest.mark.parametrize(
    ("changes", "workers", "message"),
    [
        ({"status": "NOT_READY"}, [], "no process serves nightly: run its `nightrain serve`"),
        ({"work_pool_name": "night"}, [], "'night' has no worker: run `prefect worker start"),
        ({"work_pool_name": "night"}, ["OFFLINE"], "'night' has no worker"),
    ],
)
def test_a_schedule_that_nobody_starts_is_found(
    changes: dict[str, Any], workers: list[str], message: str
) -> None:
    server = Server()
    server.deployment.update(changes)
    server.workers = workers
    ok, _, fix = found(server)
    assert not ok and message in fix


def test_an_older_server_is_named() -> None:
    import nightrain.flows  # noqa: F401  (its settings must be there before prefect is imported)
    from nightrain.flows.runtime.schedule_check import check_version

    assert check_version("3.9.1", "3.9.1").ok and check_version("3.10.0", "3.9.1").ok
    assert "upgrade the server to prefect 3.9.1" in check_version("3.8.8", "3.9.1").fix
