"""The flows `render-world` and `ingest-frames`: the built-in world, and frames in shards."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.long_job import run_long_job
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.ingest.built_in_world import RenderJob, render
from nightrain.pipelines.ingest.job import IngestJob, ingest


@flow(name="render-world", persist_result=False)
def render_world(job: RenderJob) -> State:
    """Render a world unless it is there; one that was interrupted is begun anew."""
    return run_long_job(partial(render, job), "world")


@flow(name="ingest-frames", persist_result=False)
def ingest_frames(job: IngestJob) -> State:
    """Read the frames of a source into shards; committed shards stay."""
    return run_shards(job.dataset, partial(ingest, job), "frames", num_workers=job.num_workers)
