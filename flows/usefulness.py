"""The flow `usefulness`: one long job of many runs, each with checkpoints of its own."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.usefulness.job import UsefulnessJob
from nightrain.pipelines.usefulness.study import run_usefulness


@flow(name="usefulness", persist_result=False)
def usefulness(job: UsefulnessJob) -> State:
    """Train and compare students with and without variants; an interrupted study goes on."""
    return run_long_job(partial(run_usefulness, job), "usefulness")
