"""What every flow shares, on a real server: captions as a shard flow, and long jobs with steps."""

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.stop import Stop
from support.flow_server import MARKS, artifacts, task_names
from support.synthetic import all_rows

pytestmark = MARKS


class Trained(BaseModel):
    """The report of a job."""

    stopped: bool = False
    num_steps: int = 0
    loss: float = 0.5

    @property
    def line(self) -> str:
        return f"{self.num_steps} steps"


class Described:
    """A job that says what it makes."""

    title = "teacher on streets"
    tags = ("teacher",)


def train(num_steps: int, at_step: Callable[[int], None] = lambda _: None) -> Any:
    """A job that counts to so many steps and does something at each."""

    def job(*, stop: Stop, on_step: Callable[[int, int], None]) -> Trained:
        for step in range(1, num_steps + 1):
            if stop.requested:
                return Trained(stopped=True, num_steps=step - 1)
            at_step(step)
            on_step(step, num_steps)
        return Trained(num_steps=num_steps)

    return job


def flow_of(work: Any) -> Any:
    from prefect import flow

    from nightrain.flows.runtime.long_job import run_long_job

    @flow(name="train", persist_result=False)
    def train_something(job: str) -> Any:
        return run_long_job(Described(), work, "teacher")

    return train_something


def new_session() -> Any:
    from nightrain.flows.runtime.session import Session

    return Session()


def test_a_long_job_shows_its_steps_and_gives_its_report(server: None) -> None:
    from nightrain.flows.runtime.session import run_in_process

    here, seen = new_session(), []
    here.on_step = lambda done, total: seen.append((done, total))
    assert run_in_process(here, flow_of(train(3)), "j") == Trained(num_steps=3)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert float(artifacts()["teacher-steps"]) == 100.0 and "0.5" in artifacts()["teacher"]
    state = new_session().run(flow_of(train(3)), "j")
    assert state.is_completed() and state.message == "3 steps"


def test_a_signal_ends_a_long_job_in_order(server: None) -> None:
    def signal_at_2(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    here = new_session()
    state = here.run(flow_of(train(9, signal_at_2)), "j")
    assert state.is_cancelled() and "from its checkpoint" in state.message
    assert here.report.stopped and 2 <= here.report.num_steps < 9
    assert here.stop.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # nothing is left of the handler


def test_a_foreseen_failure_is_its_sentence(server: None) -> None:
    from nightrain.flows.runtime.session import run_in_process

    def refuse(_: int) -> None:
        raise InvalidRequest("No labels. Make them first.")

    state = new_session().run(flow_of(train(1, refuse)), "j")
    assert state.is_failed() and state.message == "No labels. Make them first."
    with pytest.raises(InvalidRequest, match="No labels"):
        run_in_process(new_session(), flow_of(train(1, refuse)), "j")


def test_an_unforeseen_failure_keeps_its_kind(server: None) -> None:
    from nightrain.flows.runtime.session import run_in_process

    def fail(_: int) -> None:
        raise ZeroDivisionError("oh")

    assert "ZeroDivisionError" in str(new_session().run(flow_of(train(1, fail)), "j").message)
    with pytest.raises(ZeroDivisionError, match="oh"):
        run_in_process(new_session(), flow_of(train(1, fail)), "j")


@pytest.mark.parametrize("kind", ["CancelledRun", "FailedRun", "ZeroDivisionError"])
def test_only_a_bug_leaves_a_traceback_in_the_log_of_a_run(server: None, kind: str) -> None:
    """As a worker's process runs it: Prefect raises the states that a flow returns."""
    from prefect import exceptions
    from prefect.flow_engine import run_flow
    from prefect.logging import get_logger

    def end(_: int) -> None:
        if kind == "CancelledRun":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            raise InvalidRequest("No labels.") if kind == "FailedRun" else ZeroDivisionError("oh")

    records: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), get_logger("prefect.flow_runs")
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    flow = flow_of(train(3, end)).with_options(retries=0)
    try:
        with pytest.raises(getattr(exceptions, kind, ZeroDivisionError)):
            engine_logger: Any = logging.LoggerAdapter(logger, {"send_to_api": False})
            run_flow(flow, parameters={"job": "j"}, error_logger=engine_logger)
    finally:
        logger.removeHandler(handler)
    tracebacks = [record for record in records if record.exc_info]
    assert bool(tracebacks) == (kind == "ZeroDivisionError")


def test_a_job_that_is_none_is_no_report(server: None) -> None:
    """Prefect refuses the parameters before the body of the flow begins."""
    from nightrain.flows.caption import caption_frames
    from nightrain.flows.runtime.session import run_in_process

    with pytest.raises(RuntimeError, match="ended before the job began"):
        run_in_process(new_session(), caption_frames, {"captioner": "nobody"})


def test_steps_are_shown_now_and_then_and_never_end_the_work(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightrain.flows.runtime.session import run_in_process

    shown: list[float] = []

    def away(_: object, share: float) -> None:
        shown.append(share)
        raise ConnectionError("the server is away")

    monkeypatch.setattr("nightrain.flows.runtime.progress.update_progress_artifact", away)
    assert run_in_process(new_session(), flow_of(train(1000)), "j").num_steps == 1000
    assert len(shown) < 20 and shown[-1] == 100.0


def test_captions_through_the_flow_are_those_of_the_local_mode(
    server: None, dataset: Path, tmp_path: Path
) -> None:
    from nightrain.flows.caption import caption_frames
    from nightrain.flows.runtime.session import run_in_process
    from nightrain.pipelines.captions.job import CaptionJob, caption
    from nightrain.pipelines.runs.executors import SerialExecutor

    other, stop = tmp_path / "other", Stop()
    shutil.copytree(dataset, other)
    local = CaptionJob(dataset=other, captioner="metadata")
    caption(local, executor=SerialExecutor(stop), stop=stop)

    job, counted = CaptionJob(dataset=dataset, captioner="metadata"), []
    here = new_session()
    here.on_rows = counted.append
    report = run_in_process(here, caption_frames, job)
    assert report.num_rows == 10 == sum(counted)
    rows = all_rows(dataset, "captions")
    assert len(rows) == 10 and rows == all_rows(other, "captions")
    assert "captions/metadata" in artifacts()["captions"]
    assert {shard.name for shard in job.plan()} <= task_names()
    again = run_in_process(new_session(), caption_frames, job)
    assert again.num_rows == 0 and again.num_already == 3
