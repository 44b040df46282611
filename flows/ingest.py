"""The flow `ingest-frames`: reads a source's frames into shards, one task per shard."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.ingest.job import IngestJob, ingest


@flow(name="ingest-frames", persist_result=False)
def ingest_frames(job: IngestJob) -> State:
    """Read the frames of a source into shards; committed shards are kept."""
    return run_shards(job.dataset, partial(ingest, job), "frames", num_workers=job.num_workers)
