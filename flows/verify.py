"""The flow `verify-dataset`: re-hashes every committed file of a dataset."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.inspect.verify_job import VerifyJob, require_verified


@flow(name="verify-dataset", **flow_settings())
def verify_dataset(job: VerifyJob) -> State:
    """Verify a dataset; ends as Failed if anything is damaged."""
    return run_long_job(job, partial(require_verified, job), "verification")
