"""`deploy` on a real server: what it registers, what its automations do, and how a night fails."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from support.flow_server import MARKS
from support.prefect_server import POOL, WORKER, PrefectServer, prefect_server, running
from support.processes import wait_until

pytestmark = MARKS
AT_NEW_YEAR = ("--cron", "0 0 1 1 *", "--work-pool", POOL)
BLOCK = """
import nightrain.flows
from prefect.blocks.notifications import CustomWebhookNotificationBlock
data = {{"subject": "{{{{subject}}}}", "body": "{{{{body}}}}"}}
CustomWebhookNotificationBlock(name="x", url="{url}", json_data=data).save("on-call")
"""
STRICT = "name: strict\nconditions: {night: {}}\ngates: [{name: faults, least_spread: 90}]\n"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("deploy") / "home") as server:
        yield server


@pytest.fixture
def told() -> Iterator[list[dict[str, str]]]:
    """Messages that a webhook on loopback receives; the first item is its address."""
    found: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        found.append({"url": f"http://127.0.0.1:{server.server_port}"})
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def deploy(server: PrefectServer, *arguments: object) -> str:
    done = server.nightrain("deploy", *arguments, *AT_NEW_YEAR)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def automations(server: PrefectServer) -> dict[str, str]:
    """Ids of the automations, by name."""
    return {found["name"]: found["id"] for found in server.post("/automations/filter", {})}


def start(server: PrefectServer, deployment: str) -> None:
    identity = server.deployment(deployment)["id"]
    server.post(f"/deployments/{identity}/create_flow_run", {"state": {"type": "SCHEDULED"}})


def test_deploying_twice_changes_nothing_and_less_removes(
    prefect: PrefectServer, dataset: Path
) -> None:
    options = (dataset, "--name", "twice", "--student", "world-student")
    printed = deploy(prefect, *options)
    assert "chain/twice-nightly: 0 0 1 1 * UTC: controls, generate, verify, report" in printed
    assert "chain/twice-train-student: after new variants: train" in printed
    first = automations(prefect)
    assert set(first) == {"nightrain: crash silent runs", "nightrain: twice train-student"}
    ids = [prefect.deployment(f"twice-{n}")["id"] for n in ("nightly", "weekly-report")]
    deploy(prefect, *options)
    assert automations(prefect) == first
    assert [prefect.deployment(f"twice-{n}")["id"] for n in ("nightly", "weekly-report")] == ids
    deploy(prefect, *options[:3])
    assert set(automations(prefect)) == {"nightrain: crash silent runs"}


def test_a_night_reports_and_starts_the_training(prefect: PrefectServer, dataset: Path) -> None:
    """The student has no labels to learn from: its run says so, and is not repeated."""
    deploy(prefect, dataset, "--name", "grown", "--student", "world-student --device cpu")
    with running(prefect, "worker", *WORKER):
        start(prefect, "grown-nightly")
        wait_until(lambda: prefect.completed("grown-nightly"), "the night completes")
        ended = "FAILED", "COMPLETED", "CRASHED"
        wait_until(lambda: prefect.runs("grown-train-student", *ended), "training was started")
        start(prefect, "grown-weekly-report")
        wait_until(lambda: prefect.completed("grown-weekly-report"), "the weekly report completes")
    (night,), (week,) = prefect.completed("grown-nightly"), prefect.completed("grown-weekly-report")
    assert "generate-variants: 40 variants" in night and "verify-dataset: accepted" in night
    assert f"write-report: wrote {dataset}-report.html" in night
    assert Path(f"{dataset}-report.html").stat().st_size > 10_000
    assert f"kept {dataset}-report.html: the dataset has not changed" in week
    assert "measure-drift: Nothing of recipe 'weather' can be compared" in week
    (training,) = prefect.runs("grown-train-student", *ended)
    assert "has labels of 0 teachers" in training["state"]["message"]
    found = prefect.post("/artifacts/latest/filter", {"limit": 100})
    artifacts = {artifact["key"]: artifact["data"] for artifact in found}
    assert "| frames | 3 | 10 | 0 |" in artifacts["dataset-report"]
    assert "10 rows committed" in artifacts["control-maps"]


def test_too_many_rejected_variants_fail_the_night_and_tell_why(
    prefect: PrefectServer, dataset: Path, tmp_path: Path, told: list[dict[str, str]]
) -> None:
    (tmp_path / "strict.yaml").write_text(STRICT)
    (tmp_path / "block.py").write_text(BLOCK.format(**told.pop()))
    prefect.environment["PYTHONPATH"] = f"{prefect.environment['PYTHONPATH']}:{tmp_path}"
    assert prefect.run("block").returncode == 0
    recipe = ("--recipe", tmp_path / "strict.yaml")
    deploy(prefect, dataset, "--name", "strict", *recipe, "--notify", "custom-webhook/on-call")
    with running(prefect, "worker", *WORKER):
        start(prefect, "strict-nightly")
        wait_until(lambda: prefect.runs("strict-nightly", "FAILED"), "the night fails")
        wait_until(lambda: len(told) == 2, "both notifications arrive")
    (night,) = prefect.runs("strict-nightly", "FAILED")  # and was not tried again
    assert night["run_count"] == 1
    message = night["state"]["message"]
    assert message.startswith("step 1 of 3, generate-variants: 10 of 10 rows are in quarantine")
    assert {one["subject"] for one in told} == {
        "strict: too many rows in quarantine",
        "strict: Failed",
    }
    assert all("10 of 10 rows are in quarantine" in one["body"] for one in told)
