"""The flow `usefulness`: one long job with many training runs, each with its own checkpoints."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.usefulness.job import UsefulnessJob
from nightrain.pipelines.usefulness.study.run import run_usefulness


@flow(name="usefulness", **flow_settings())
def usefulness(job: UsefulnessJob) -> State:
    """Train and compare students with and without variants, or resume the study."""
    return run_long_job(job, partial(run_usefulness, job), "usefulness")
