"""The flow `evaluate-depth`: scores a depth model by condition."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model


@flow(name="evaluate-depth", **flow_settings())
def evaluate_depth(job: EvaluationJob) -> State:
    """Score a model and write scores, tables and error maps; a stopped run writes nothing."""
    return run_long_job(job, partial(evaluate_model, job), "evaluation")
