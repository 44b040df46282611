"""Runs a usefulness study: baselines, every arm and seed, and the report after each run."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.leases import Lease, held_by
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.usefulness.foundation import foundation_evaluation
from nightrain.pipelines.usefulness.job import UsefulnessJob
from nightrain.pipelines.usefulness.plan import Plan, plan_study
from nightrain.pipelines.usefulness.records import stored_arms
from nightrain.pipelines.usefulness.run_arms import Outcome, do_runs, is_done, read_outcome
from nightrain.pipelines.usefulness.scoring import (
    StoredEvaluations,
    evaluate_once,
    one_thread,
    stored_stability,
)
from nightrain.pipelines.usefulness.study.figures import error_figure, stability_figure
from nightrain.pipelines.usefulness.study.markdown import score_table
from nightrain.pipelines.usefulness.study.report import (
    FIGURE_FILE,
    REPORT_FILE,
    TABLES_FILE,
    markdown,
)
from nightrain.pipelines.usefulness.study.table import Usefulness, usefulness_table
from nightrain.pipelines.usefulness.study.tables_page import STABILITY_FIGURE, tables_page

TEACHER = "teacher"
SELECTION_FILE, JSON_FILE = "selection.json", "usefulness.json"
logger = logging.getLogger("nightrain.pipelines.usefulness")  # progress messages


class UsefulnessReport(BaseModel):
    """Result of a study in a few numbers, which a flow can return."""

    status: Literal["finished", "stopped", "failed"]
    out: str
    num_runs: int
    num_finished: int
    num_failed: int
    seconds: float  # of this process
    summary: str

    @property
    def stopped(self) -> bool:
        """Whether the study was stopped before its last run."""
        return self.status == "stopped"

    @property
    def line(self) -> str:
        """Summary in one line."""
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        end = "; run it again to resume" if self.stopped else ""
        return (
            f"{self.out}: {self.num_finished} of {self.num_runs} runs finished{failed}, "
            f"{self.seconds:.0f} s{end}. {self.summary}"
        )


def run_usefulness(
    job: UsefulnessJob,
    *,
    stop: Stop,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
) -> UsefulnessReport:
    """Train and evaluate the unfinished runs of a study, and update its report after each.

    A failed run is reported and retried by the next call. Raises InvalidRequest before anything is
    trained where data is missing or another process holds the study; DiskFull, CorruptShard.
    """
    started = time.perf_counter()
    plan = plan_study(job)
    lease = Lease.take(job.out, "study")
    if lease is None:
        raise InvalidRequest(
            f"Another process runs the study in {job.out}: {held_by(job.out, 'study')}. Wait for "
            "it to end."
        )
    with lease:
        writer = ResultWriter(plan, _baselines(plan))
        pending = [run for run in plan.runs if not is_done(run)]
        total = sum(run.config.num_steps for run in plan.runs)
        done = total - sum(run.config.num_steps for run in pending)

        def on_steps(count: int) -> None:
            nonlocal done
            done += count
            lease.renew()
            on_step(done, total)

        on_steps(0)
        found = writer.write()
        for outcome in do_runs(pending, job.workers, stop, on_steps):
            found = writer.write()
            _log_outcome(plan, outcome, found)
    return _report(plan, found, time.perf_counter() - started, stop)


class ResultWriter:
    """Writes the results of all runs in a study folder, also those of earlier jobs.

    Evaluations are read once, so that a report costs little however many runs there are.
    """

    def __init__(self, plan: Plan, baselines: dict[str, Evaluation]) -> None:
        self.plan, self.baselines, self.stored = plan, baselines, StoredEvaluations()

    def write(self) -> Usefulness:
        """Write report, tables, figures, selection and JSON; return the results.

        Raises NightrainError.
        """
        out, study, job = self.plan.job.out, self.plan.study, self.plan.job
        arms = stored_arms(out)
        outcomes, evaluations, selecting, stabilities = {}, {}, {}, {}
        for folder in (f for facts in arms for f in matching(out / facts.arm.name, "seed-*")):
            outcome = read_outcome(folder)
            if outcome is None:
                continue
            key = outcome.arm, outcome.seed
            outcomes[key] = outcome
            evaluation = self.stored.read(folder, study.settings)
            if outcome.status == "finished" and evaluation is not None:
                evaluations[key] = evaluation
                if (stability := stored_stability(folder, evaluation.model_digest)) is not None:
                    stabilities[key] = stability
                if (selection := self._selecting(folder)) is not None:
                    selecting[key] = selection
        found = usefulness_table(
            study,
            arms,
            job.seeds,
            outcomes,
            evaluations,
            self.baselines,
            job.command,
            selecting=selecting,
            stabilities=stabilities,
            left_out=self.plan.left_out,
        )
        self._write_files(found)
        return found

    def _selecting(self, folder: Path) -> Evaluation | None:
        split = self.plan.study.selected_on
        if split is None:
            return None
        settings = self.plan.study.settings.model_copy(update={"split": split})
        return self.stored.read(folder / split, settings)

    def _write_files(self, found: Usefulness) -> None:
        out = self.plan.job.out
        selection = found.selection.model_dump(mode="json")
        write_whole(out / SELECTION_FILE, record_bytes("selection", selection))
        write_whole(out / FIGURE_FILE, error_figure(found))
        if any(arm.stability for arm in found.arms):
            write_whole(out / STABILITY_FIGURE, stability_figure(found))
        write_whole(out / TABLES_FILE, tables_page(found))
        write_whole(out / REPORT_FILE, markdown(found))
        write_whole(out / JSON_FILE, found.model_dump_json(indent=1) + "\n")


def _baselines(plan: Plan) -> dict[str, Evaluation]:
    """Evaluate the constant median-depth baseline, the teacher and foundation models.

    Raises InvalidRequest where the dataset has no frames to score.
    """
    job, study = plan.job, plan.study
    named = {MEDIAN_DEPTH: (MEDIAN_DEPTH, ""), TEACHER: (str(job.teacher), study.teacher)}
    logger.info("evaluating %s unless already done", " and ".join(named))
    with one_thread():
        found = {
            name: evaluate_once(model, digest, job.dataset, job.out / name, study.settings)
            for name, (model, digest) in named.items()
        }
        for folder in job.foundation:
            name = f"{folder.resolve().name} (aligned)"
            out = job.out / f"foundation-{folder.resolve().name}"
            logger.info("evaluating %s unless already done", name)
            found[name] = foundation_evaluation(folder, job.dataset, out, study.settings)
    return found


def _log_outcome(plan: Plan, outcome: Outcome, found: Usefulness) -> None:
    """Log the outcome of a run, and the table after the last run of a seed."""
    error = f": {outcome.error}" if outcome.error else ""
    logger.info("%s seed %d %s%s", outcome.arm, outcome.seed, outcome.status, error)
    planned = {run.arm for run in plan.runs}
    ended = all(
        outcome.seed in arm.seeds or outcome.seed in arm.failed
        for arm in found.arms
        if arm.facts.arm.name in planned
    )
    if ended:
        logger.info("%s\n%s", "\n".join(score_table(found, "abs_rel")), found.summary)


def _report(plan: Plan, found: Usefulness, seconds: float, stop: Stop) -> UsefulnessReport:
    planned = {(run.arm, run.seed) for run in plan.runs}
    done = {(a.facts.arm.name, seed) for a in found.arms for seed in a.seeds} & planned
    failed = {(a.facts.arm.name, seed) for a in found.arms for seed in a.failed} & planned
    unfinished = planned - done - failed
    return UsefulnessReport(
        status="stopped" if stop.requested and unfinished else "failed" if failed else "finished",
        out=str(plan.job.out),
        num_runs=len(planned),
        num_finished=len(done),
        num_failed=len(failed),
        seconds=round(seconds, 1),
        summary=found.summary,
    )
