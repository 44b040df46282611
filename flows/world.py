"""The flows `render-world` and `ingest-world`: the built-in world, and its frames in shards."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.long_job import run_long_job
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.ingest.built_in_world import ReadWorldJob, RenderJob, read_world, render


@flow(name="render-world", persist_result=False)
def render_world(job: RenderJob) -> State:
    """Render a world unless it is there; one that was interrupted is begun anew."""
    return run_long_job(partial(render, job), "world")


@flow(name="ingest-world", persist_result=False)
def ingest_world(job: ReadWorldJob) -> State:
    """Read a world's frames into shards; what is committed stays."""
    return run_shards(job.dataset, partial(read_world, job), "frames")
