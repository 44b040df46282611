"""Runs of a usefulness study: trained and evaluated one after another or in parallel."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event as ProcessEvent
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.errors import CorruptShard, DiskFull, NightrainError, UnreadableFile
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.depthmodel.training.loop import TrainReport, train
from nightrain.depthmodel.training.run_folder import RunFolder
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.usefulness.plan import Run
from nightrain.pipelines.usefulness.scoring import (
    evaluate_once,
    one_thread,
    stability_once,
    stored_evaluation,
    stored_stability,
)

OUTCOME_FILE = "outcome.json"
POLL_SECONDS = 0.5
OnSteps = Callable[[int], None]  # receives the number of further steps done


class Outcome(BaseModel):
    """Outcome of a run, stored in its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: str
    seed: int
    status: Literal["finished", "failed", "stopped"]
    step: int = 0
    seconds: float = 0.0  # of training, over all attempts without a crash
    error: str = ""


def read_outcome(folder: Path) -> Outcome | None:
    """Last outcome of the run in a folder; None for a run that never ended or is unreadable."""
    try:
        found = read_record(folder / OUTCOME_FILE, "outcome", "outcome of a run")
        return Outcome.model_validate(found)
    except (FileNotFoundError, CorruptShard, UnreadableFile, ValidationError):
        return None  # the run is evaluated again


def is_done(run: Run) -> bool:
    """Whether a run is trained and evaluated.

    Raises InvalidRequest for a run with other settings.
    """
    digest = RunFolder(run.folder, run.config, run.dataset).finished_digest()
    outcome = read_outcome(run.folder)
    ended = outcome is not None and outcome.status == "finished"
    if not digest or not ended or stored_stability(run.folder, digest) is None:
        return False
    evaluations = run.evaluations.items()
    return all(stored_evaluation(folder, settings, digest) for folder, settings in evaluations)


def do_run(run: Run, stopped: Callable[[], bool], on_steps: OnSteps) -> Outcome:
    """Train and evaluate a run, or resume it; a failure is an outcome, too.

    Raises DiskFull, since no other run could be stored either.
    """
    before = read_outcome(run.folder)
    seconds = before.seconds if before else 0.0
    facts: dict[str, Any] = {"arm": run.arm, "seed": run.seed}
    step = before.step if before else 0
    try:
        with one_thread():
            report = _trained(run, stopped, on_steps)
            step, seconds = report.step, seconds + report.seconds
            if not report.stopped:
                _score(run, report.digest)
        status = "stopped" if report.stopped else "finished"
        outcome = Outcome(**facts, status=status, step=step, seconds=round(seconds, 1))
    except DiskFull:
        raise
    except Exception as error:  # a failed arm must not stop the others; the report shows it
        words = str(error) if isinstance(error, NightrainError) else repr(error)
        outcome = Outcome(**facts, status="failed", step=step, seconds=seconds, error=words)
    write_whole(run.folder / OUTCOME_FILE, record_bytes("outcome", outcome.model_dump()))
    return outcome


def do_runs(
    runs: Sequence[Run], num_workers: int, stop: Stop, on_steps: OnSteps
) -> Iterator[Outcome]:
    """Yield outcomes as runs end; `on_steps` is called often, with 0 without progress.

    Raises DiskFull; NightrainError where a process was killed.
    """
    if num_workers > 1 and len(runs) > 1:
        yield from _in_processes(runs, min(num_workers, len(runs)), stop, on_steps)
        return
    for run in runs:
        if stop.requested:
            return
        yield do_run(run, lambda: stop.requested, on_steps)


def _score(run: Run, digest: str) -> None:
    """Evaluate a trained run on every split of the study, and measure its stability."""
    model = str(run.folder / "model")
    for folder, settings in run.evaluations.items():
        evaluate_once(model, digest, run.dataset, folder, settings)
    stability_once(model, digest, run.dataset, run.folder, run.settings, run.variants)


def _trained(run: Run, stopped: Callable[[], bool], on_steps: OnSteps) -> TrainReport:
    last = 0

    def on_step(done: int, _total: int) -> None:
        nonlocal last
        on_steps(done - last)  # a resumed run's first step counts earlier ones
        last = done

    report = train(
        run.config,
        run.dataset,
        run.folder,
        command=run.command,
        device=run.device,
        stopped=stopped,
        on_step=on_step,
    )
    on_steps(report.step - last)
    return report


def _in_processes(
    runs: Sequence[Run], num_workers: int, stop: Stop, on_steps: OnSteps
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    flag, counter = context.Event(), context.Value("q", 0)
    reported = 0
    with ProcessPoolExecutor(num_workers, context, _begin_worker, (flag, counter)) as pool:
        waiting: set[Future[Outcome]] = {pool.submit(_do_run_in_worker, run) for run in runs}
        try:
            while waiting:
                done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                if stop.requested:
                    _end(flag, waiting)
                total = counter.value
                on_steps(total - reported)
                reported = total
                yield from (f.result() for f in done if not f.cancelled())
        except BrokenProcessPool as error:
            raise NightrainError(
                "A process of the study was killed, possibly because memory ran out. Run the "
                "command again with fewer --workers; it resumes from the checkpoints."
            ) from error
        finally:
            _end(flag, waiting)


def _end(flag: ProcessEvent, futures: set[Future[Outcome]]) -> None:
    flag.set()
    for future in futures:
        future.cancel()


_stopped: ProcessEvent | None = None
_steps: Any = None  # of this worker's study, in shared memory


def _begin_worker(flag: ProcessEvent, counter: Any) -> None:
    """Initialise a worker: only the parent handles signals, and no worker outlives it."""
    global _stopped, _steps
    _stopped, _steps = flag, counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _do_run_in_worker(run: Run) -> Outcome:
    flag, counter = _stopped, _steps
    assert flag is not None

    def on_steps(count: int) -> None:
        with counter.get_lock():
            counter.value += count

    return do_run(run, flag.is_set, on_steps)
