"""Budgets: a run ends in order when its budget is spent, and the next one makes the same rows."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nightrain.datasets.shards.verify import verify
from nightrain.flows.cli.console import EXIT_BUDGET_SPENT, exit_code
from nightrain.flows.runtime.shard_plan import final_state
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.budget.amounts import NO_BUDGET, RunBudget, budget_of, parse_amount
from nightrain.pipelines.runs.budget.spending import spending
from nightrain.pipelines.runs.executors import Executor, PlanOnly, ProcessExecutor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop
from support.plugins import install
from support.synthetic import all_rows

# Within the batch that the environment names, uses up a megabyte of disk and waits for the end.
ENGINE = """
import os
import time
from typing import ClassVar, Literal

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import HostEngine, Variant
from nightrain.pipelines.engines.engine_settings import EngineSettings
from nightrain.pipelines.runs import stop as stopping

calls = []


class Settings(EngineSettings):
    name: Literal["patient"] = "patient"
    engine_class: ClassVar[str] = "patient_engine:PatientEngine"
    conditions: ClassVar[tuple[Condition, ...]] = (Condition.FOG, Condition.NIGHT)

    def version(self, condition):
        return "1"


class PatientEngine(HostEngine):
    def __init__(self, settings):
        pass

    def generate(self, requests):
        calls.append(len(requests))
        if len(calls) == int(os.environ.get("PATIENT_AT", "0")):
            if "PATIENT_FILE" in os.environ:
                with open(os.environ["PATIENT_FILE"], "ab") as file:
                    file.write(bytes(1_000_000))
            until = time.monotonic() + 200
            while not stopping.current().requested and time.monotonic() < until:
                time.sleep(0.005)
        return [Variant(image=np.full_like(r.image, r.seed % 256)) for r in requests]
"""
RECIPE = (
    "name: patient\nengine: {name: patient}\ndepth: exact\nbatch_size: 2\n"
    "conditions: {fog: {}, night: {}}\n"
)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = {"group": "nightrain.engines", "name": "patient", "module": "patient_engine"}
    install(tmp_path / "site", monkeypatch, **where, code=ENGINE)
    path = tmp_path / "patient.yaml"
    path.write_text(RECIPE)
    return str(path)


def run(
    dataset: Path,
    recipe: str,
    *,
    stop: Stop | None = None,
    executor: Executor | None = None,
    **m: Any,
) -> RunReport:
    stop = stop or Stop()
    job = GenerateJob(dataset=dataset, recipe=recipe, **m)
    return generate(job, executor=executor or SerialExecutor(stop), stop=stop)


@pytest.fixture
def disk(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine's last batch of a night use up disk space among the unfinished shards."""
    (dataset / "_partial").mkdir()
    monkeypatch.setenv("PATIENT_FILE", str(dataset / "_partial" / "used"))


@pytest.fixture
def whole(dataset: Path, recipe: str, tmp_path: Path) -> dict[str, Any]:
    """Rows of the same frames, generated at once without a budget."""
    copy = shutil.copytree(dataset, tmp_path / "copy")
    assert run(copy, recipe).num_rows == 20
    return all_rows(copy)


def test_the_batch_is_finished_and_the_next_run_makes_the_same_rows(
    dataset: Path, recipe: str, whole: dict[str, Any], disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import patient_engine  # pyright: ignore[reportMissingImports]

    # The second shard has two batches of two.
    monkeypatch.setenv("PATIENT_AT", str(len(patient_engine.calls) + 3))
    stop = Stop()
    report = run(dataset, recipe, stop=stop, budget=("1MB",))
    assert (report.num_rows, report.num_kept, report.num_left) == (4, 2, 16)
    assert not report.stopped and not report.failed and not stop.requested
    assert report.budget_spent == (
        "Budget spent (1MB): 4 variants committed, 16 left, 2 of them finished and kept. Run the "
        "same command again to continue."
    )
    assert exit_code(report, 143) == EXIT_BUDGET_SPENT == 5
    state = final_state(report, "variants")
    assert state.is_completed() and state.message == report.budget_spent
    assert verify(dataset).accepted and not list((dataset / "_leases").iterdir())
    calls = len(patient_engine.calls)
    again = run(dataset, recipe, budget=("1d", "1TB"))
    assert again.num_rows == 16 and not again.budget_spent and exit_code(again, 143) == 0
    assert sum(patient_engine.calls[calls:]) == 14  # the two that were kept are not made again
    assert all_rows(dataset) == whole and verify(dataset).accepted


def test_nights_with_a_budget_come_to_the_rows_of_one_run(
    dataset: Path, recipe: str, whole: dict[str, Any], disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import patient_engine  # pyright: ignore[reportMissingImports]

    left = [20]
    while left[-1]:
        monkeypatch.setenv("PATIENT_AT", str(len(patient_engine.calls) + 2))
        report = run(dataset, recipe, budget=("1h", "1MB"))
        assert bool(report.budget_spent) == bool(report.num_left) and not report.stopped
        left.append(report.num_left)
    assert left == sorted(left, reverse=True) and all_rows(dataset) == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_time_ends_a_run_of_any_executor(
    dataset: Path, recipe: str, whole: dict[str, Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import patient_engine  # pyright: ignore[reportMissingImports]

    first = len(patient_engine.calls) + 1 if workers == 1 else 1  # processes have their own count
    monkeypatch.setenv("PATIENT_AT", str(first))
    stop = Stop()
    executor = SerialExecutor(stop) if workers == 1 else ProcessExecutor(workers, stop)
    text = f"{0.1 * workers:.1f}device-s"
    report = run(dataset, recipe, stop=stop, executor=executor, budget=(text,), num_workers=workers)
    assert report.budget_spent.startswith(f"Budget spent ({text}): ") and not stop.requested
    assert report.num_left > 0 and not report.stopped
    monkeypatch.delenv("PATIENT_AT")
    assert run(dataset, recipe).num_rows == report.num_left and all_rows(dataset) == whole


def test_a_person_s_stop_stays_a_stop(dataset: Path, recipe: str) -> None:
    stop = Stop()
    stop.request(15)
    report = run(dataset, recipe, stop=stop, budget=("0.01s",))
    assert report.stopped and not report.budget_spent and stop.requested
    assert exit_code(report, stop.exit_code) == 143


def test_planning_alone_spends_nothing(dataset: Path, recipe: str) -> None:
    job = GenerateJob(dataset=dataset, recipe=recipe, budget=("0.01s",))
    assert job.budget_of_run(PlanOnly()) == NO_BUDGET
    assert job.budget_of_run(SerialExecutor()) == RunBudget(0.01, None, "0.01s")


def test_a_stop_flag_forgets_a_budget_and_nothing_else() -> None:
    stop = Stop()
    assert not stop.forget_budget()
    stop.end_for_budget()
    assert stop.requested and stop.forget_budget() and not stop.requested
    stop.end_for_budget()
    stop.request(2)
    assert not stop.forget_budget() and stop.requested


def test_disk_space_is_what_the_folders_grow_by(tmp_path: Path) -> None:
    folder = tmp_path / "variants" / "r-1" / "fog"
    folder.mkdir(parents=True)
    (folder / "before").write_bytes(bytes(5000))
    (tmp_path / "frames").mkdir()
    stop = Stop()
    with spending(RunBudget(None, 1000, "1kB"), tmp_path, ["variants/r-1/fog"], stop):
        (tmp_path / "frames" / "other").write_bytes(bytes(5000))
        stop.wait(0.6)
        assert not stop.requested
        (tmp_path / "quarantine" / "r-1" / "fog").mkdir(parents=True)
        (tmp_path / "quarantine" / "r-1" / "fog" / "new").write_bytes(bytes(1000))
        stop.wait(200)
        assert stop.requested
    assert stop.forget_budget()


@pytest.mark.parametrize(
    ("text", "number", "kind"),
    [
        ("2h", 7200, "seconds"),
        ("90 s", 90, "seconds"),
        ("1.5min", 90, "seconds"),
        ("2d", 172_800, "seconds"),
        ("4device-h", 14_400, "device_seconds"),
        ("10GB", 1e10, "bytes"),
        ("10 gb", 1e10, "bytes"),
        ("500MB", 5e8, "bytes"),
        ("1TB", 1e12, "bytes"),
        ("20EUR", 20, "money"),
        ("0.5USD", 0.5, "money"),
    ],
)
def test_amounts(text: str, number: float, kind: str) -> None:
    amount = parse_amount(text)
    assert amount.number == pytest.approx(number) and amount.kind == kind


@pytest.mark.parametrize(
    "text",
    ["0h", "0.0GB", "-2h", "2", "h", "", "2 parsecs", "nanh", "infGB", "1e3h", "2 eur", "device-h"],
)
def test_what_is_no_amount_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="expected a number above 0 with a unit"):
        GenerateJob(dataset=tmp_path, budget=(text,))


def test_the_smallest_limit_counts_and_devices_spend_at_once() -> None:
    assert budget_of((), 3, None) == NO_BUDGET and not NO_BUDGET.is_limited
    found = budget_of(("3h", "4device-h", "1GB", "5MB"), 2, None)
    assert found == RunBudget(7200.0, 5e6, "3h or 4device-h or 1GB or 5MB")
    assert budget_of(("12EUR",), 4, 1.5).seconds == pytest.approx(2 * 3600)
    with pytest.raises(ValueError, match="without a price"):
        budget_of(("12EUR",), 4, None)


def test_money_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="add --price-per-hour"):
        GenerateJob(dataset=tmp_path, budget=("5EUR",))
    with pytest.raises(ValidationError):
        GenerateJob(dataset=tmp_path, budget=("5EUR",), price_per_hour=0)
    job = GenerateJob(dataset=tmp_path, budget=("5EUR",), price_per_hour=2.5, num_workers=2)
    assert GenerateJob.model_validate_json(job.model_dump_json()) == job
