"""What tests on a real Prefect server (fixture `server`) share: their marks, and what it holds."""

from typing import Any

import pytest

MARKS = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def artifacts() -> dict[str, Any]:
    """The latest artifact of every key."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/latest/filter", json={}).json()
    return {artifact["key"]: artifact["data"] for artifact in found}


def task_names() -> set[str]:
    """Names of the task runs."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = client.request("POST", "/task_runs/filter", json={"limit": 200}).json()
    return {run["name"] for run in runs}
