"""The flow `render-world`: renders the built-in world."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.ingest.built_in_world import RenderJob, render


@flow(name="render-world", **flow_settings())
def render_world(job: RenderJob) -> State:
    """Render a world, or what is missing of it; finished scenes are kept."""
    return run_long_job(job, partial(render, job), "world")
