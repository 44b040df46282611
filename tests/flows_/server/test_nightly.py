"""Ten nights in ten minutes: a chain by cron on a real server, whose source grows meanwhile.

    pytest -s -m campaign tests/flows_/server/test_nightly.py

prints the address of the dashboard while it runs. The server is killed and restarted once, and so
is the worker in the middle of a run; at the end the dataset holds what one undisturbed run makes.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightrain.datasets.shards.verify import verify
from nightrain.datasets.world.export.writer import write_world
from support.flow_server import MARKS
from support.prefect_server import POOL, WORKER, PrefectServer, kill, prefect_server, running
from support.processes import wait_until
from support.synthetic import all_rows
from support.tiny_depth_models import save_teacher

pytestmark = [*MARKS, pytest.mark.campaign, pytest.mark.timeout(3600)]
MINUTES = float(os.environ.get("NIGHTLY_MINUTES", "10"))
SCENES = (1, 2, 3, 4)  # of the source, as it grows
TABLES = ("frames", "variants", "labels")
# Records with a traceback that are Prefect's own, by log. SQLite rejects a write of the server now
# and then, which the worker repeats; and the first worker's flow run loses its server on purpose.
EXPECTED = {
    "server": [r"Worker channel heartbeat persistence failed: .*database is locked"],
    "worker-1": [
        r"FlowRun(Cancelling|Suspending)Observer websocket failed .*ConnectionClosedError",
        r"FlowRunCancellingObserver - Cancellation polling task failed.*exceeded error threshold",
        r"Failed the last \d+ attempts.*httpx.ConnectError: All connection attempts failed",
    ],
    "worker-2": [],
}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("nightly") / "home", dashboard=True) as server:
        yield server


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def chain(source: Path, dataset: Path, teacher: Path) -> list[list[object]]:
    return [
        ["ingest", "world", source, "--out", dataset],
        ["generate", dataset, "--recipe", "weather"],
        ["label", dataset, "--teacher", teacher, "--device", "cpu"],
        ["verify", dataset],
    ]


def grow(source: Path, scenes: int) -> None:
    """Let the source be a world with more scenes, at once for whoever opens it."""
    link = source.with_suffix(".next")
    link.symlink_to(source.with_name(f"world-{scenes}"))
    link.rename(source)
    say(f"the source has {scenes} scenes")


def nightrain(server: PrefectServer, *arguments: object) -> str:
    done = server.nightrain(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def next_run(server: PrefectServer) -> None:
    """Wait until a run that begins from now on completes."""
    done = {run["id"] for run in server.runs("nightly", "COMPLETED", "RUNNING", "PENDING")}

    def completed() -> bool:
        return any(run["id"] not in done for run in server.runs("nightly", "COMPLETED"))

    wait_until(completed, "another run completes", 10 * 60)
    say(f"{server.runs('nightly', 'COMPLETED')[-1]['state']['message']}")


def in_a_run(server: PrefectServer) -> None:
    wait_until(lambda: server.runs("nightly", "RUNNING"), "a run is active", 10 * 60)
    time.sleep(4)  # in the middle of it


def test_a_chain_survives_ten_minutes_of_nights(prefect: PrefectServer, tmp_path: Path) -> None:
    ended = time.monotonic() + 60 * MINUTES
    for scenes in SCENES:
        write_world(tmp_path / f"world-{scenes}", scenes=scenes, frames=6, seed=3, size=(192, 112))
    source, dataset, teacher = tmp_path / "source", tmp_path / "shards", tmp_path / "teacher"
    save_teacher(teacher, seed=0)
    grow(source, SCENES[0])
    words = " then ".join(" ".join(map(str, step)) for step in chain(source, dataset, teacher))
    options = ("--cron", "* * * * *", "--name", "nightly", "--work-pool", POOL)
    say(nightrain(prefect, "schedule", *options, *words.split()))
    say(f"dashboard: {prefect.url.removesuffix('/api')}")

    with running(prefect, "worker-1", *WORKER) as worker:
        next_run(prefect)
        grow(source, SCENES[1])
        in_a_run(prefect)
        say("killing the server")
        prefect.kill()
        time.sleep(15)
        prefect.start()
        say("the server is back")
        next_run(prefect)
        grow(source, SCENES[2])
        in_a_run(prefect)
        say("killing the worker and its run")
        kill(worker)
    with running(prefect, "worker-2", *WORKER):
        next_run(prefect)
        say(nightrain(prefect, "doctor"))
        grow(source, SCENES[3])
        next_run(prefect)
        while time.monotonic() < ended:
            next_run(prefect)
        prefect.pause("nightly")
        wait_until(lambda: not prefect.runs("nightly", "RUNNING", "PENDING"), "no run is active")
    for state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING"):
        say(f"{len(prefect.runs('nightly', state))} runs {state}")
    whole = tmp_path / "whole"
    for step in chain(tmp_path / f"world-{SCENES[-1]}", whole, teacher):
        local = () if step[0] == "verify" else ("--runner", "local")
        nightrain(prefect, *step, *local)
    assert verify(dataset).accepted and not list((dataset / "_leases").iterdir())
    for table in TABLES:
        assert len(all_rows(whole, table)) > 0
        assert all_rows(dataset, table) == all_rows(whole, table), table
    assert {name: unexpected(prefect, name) for name in EXPECTED} == {name: [] for name in EXPECTED}
    assert "already in terminal state" not in prefect.log("server")  # no ended run was crashed


def unexpected(server: PrefectServer, name: str) -> list[str]:
    """Records of a log that hold a traceback, other than the expected ones."""
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d{3} \| )", server.log(name), flags=re.M)
    return [
        record
        for record in records
        if "Traceback" in record and not any(re.search(e, record, re.S) for e in EXPECTED[name])
    ]
