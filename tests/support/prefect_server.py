"""A Prefect server, workers and served deployments, each as processes that tests start and kill."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.processes import DEADLINE_S, wait_until

POOL = "tests"
PLAIN: dict[str, Any] = {"verify": False}  # loading certificates takes longer than a request
WORKER = ("prefect", "worker", "start", "--pool", POOL)
CLI = "nightrain.flows.cli"


class PrefectServer:
    """A server on a port of its own, with its home in a folder of the test."""

    def __init__(self, home: Path, *, dashboard: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._options = () if dashboard else ("--no-ui",)
        self.home, self.url = home, f"http://127.0.0.1:{port}/api"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT")},
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "DO_NOT_TRACK": "1",
        }
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._server = self.process("server", "prefect", "server", "start", *self._options)
        wait_until(self._answers, "the server answers")

    def kill(self) -> None:
        """Kill the server."""
        if self._server is not None:
            kill(self._server)

    def process(self, log: str, *module: object) -> subprocess.Popen[bytes]:
        """Start `python -m module...` in a session of its own, with its output in a file."""
        with (self.home / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", *map(str, module)],
                env=self.environment,
                cwd=self.home,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def nightrain(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command line of `nightrain` with this server, to its end."""
        return self.run(CLI, *arguments)

    def run(self, *module: object) -> subprocess.CompletedProcess[str]:
        """Run `python -m module...` with this server, to its end."""
        return subprocess.run(
            [sys.executable, "-m", *map(str, module)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a request to the API, and return its JSON."""
        answer = self._request("POST", path, body)
        return answer.json() if answer.content else None

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Send a request, and again if the server's SQLite was locked, as Prefect's client does."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = httpx.request(method, f"{self.url}{path}", json=body, timeout=60, **PLAIN)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return answer.raise_for_status()
            time.sleep(1)

    def runs(self, deployment: str, *states: str) -> list[dict[str, Any]]:
        """Runs of a deployment in any of these types of state, in the order of their start."""
        return self.post(
            "/flow_runs/filter",
            {
                "sort": "START_TIME_ASC",
                "deployments": {"name": {"any_": [deployment]}},
                "flow_runs": {"state": {"type": {"any_": list(states)}}},
            },
        )

    def completed(self, deployment: str) -> list[str]:
        """Messages of the completed runs of a deployment."""
        return [run["state"]["message"] for run in self.runs(deployment, "COMPLETED")]

    def set_state(self, run: dict[str, Any], kind: str, name: str, **details: Any) -> None:
        """Propose a state for a run, as the dashboard does."""
        state = {"type": kind, "name": name, "state_details": details}
        self.post(f"/flow_runs/{run['id']}/set_state", {"state": state})

    def messages(self, run: dict[str, Any]) -> list[str]:
        """Messages of a run's log, the oldest first."""
        wanted = {"flow_run_id": {"any_": [run["id"]]}}
        found = self.post("/logs/filter", {"logs": wanted, "sort": "TIMESTAMP_ASC"})
        return [log["message"] for log in found]

    def deployment(self, name: str) -> dict[str, Any]:
        """The deployment with a name."""
        (found,) = self.post("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found

    def pause(self, name: str) -> None:
        """Pause a deployment's schedule."""
        self.post(f"/deployments/{self.deployment(name)['id']}/pause_deployment", {})

    def delete(self, name: str) -> None:
        """Delete a deployment, so that it starts no more runs."""
        self._request("DELETE", f"/deployments/{self.deployment(name)['id']}")

    def log(self, name: str) -> str:
        """What a process printed."""
        return (self.home / f"{name}.log").read_text()

    def _answers(self) -> bool:
        assert self._server is not None and self._server.poll() is None, self.log("server")
        try:
            return httpx.get(f"{self.url}/health", timeout=5, **PLAIN).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def prefect_server(home: Path, *, dashboard: bool = False) -> Iterator[PrefectServer]:
    """Run a server with a process work pool and no worker."""
    home.mkdir()
    server = PrefectServer(home, dashboard=dashboard)
    try:
        server.start()
        server.post("/work_pools/", {"name": POOL, "type": "process"})
        yield server
    finally:
        server.kill()
        _kill_all(_of_home(server))


@contextmanager
def running(server: PrefectServer, log: str, *module: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module...` within the block, and kill it with its flow runs at the end."""
    process = server.process(log, *module)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its descendants: workers start flow runs in sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        parent.suspend()  # so that it starts no other meanwhile
        _kill_all([*parent.children(recursive=True), parent])
    process.wait()


def _of_home(server: PrefectServer) -> Iterator[psutil.Process]:
    """Processes with the server's home in their environment, whose parents may have died."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT_HOME") == server.environment["PREFECT_HOME"]:
                yield process


def _kill_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
