"""The flows `ingest-SOURCE`: read a source's frames into shards, one task per shard.

A source that has grown since the last run adds its new frames, so a schedule needs no state.

    prefect deploy nightrain.flows.ingest:ingest_nuscenes --pool POOL --name nightly

Each flow has the options of its source as a typed parameter. `ingest_NAME` is also the flow of a
source NAME from an installed package; `ingest_frames` takes the name of the source in the job.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import State

from nightrain.datasets.sources.registry import SOURCES
from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.ingest.job import IngestJob, ingest, ingest_job_model

PREFIX = "ingest_"


def _of_source(source: str) -> Callable[[Callable[..., State]], Callable[..., State]]:
    """Type the parameter `job` of a flow as the job model of a source, for forms and schemas."""

    def annotate(function: Callable[..., State]) -> Callable[..., State]:
        function.__annotations__["job"] = ingest_job_model(source)
        return function

    return annotate


@flow(name="ingest-frames", **flow_settings())
def ingest_frames(job: IngestJob) -> State:
    """Read the frames of a source into shards; committed shards are kept."""
    return run_shards(job, partial(ingest, job), "frames", num_workers=job.num_workers)


@flow(name="ingest-nuscenes", **flow_settings())
@_of_source("nuscenes")
def ingest_nuscenes(job: IngestJob) -> State:
    """Read nuScenes, or another data set in its layout; frames that are new are appended."""
    return ingest_frames.fn(job)


@flow(name="ingest-robotcar", **flow_settings())
@_of_source("robotcar")
def ingest_robotcar(job: IngestJob) -> State:
    """Read Oxford RobotCar; frames that are new are appended."""
    return ingest_frames.fn(job)


@flow(name="ingest-kitti", **flow_settings())
@_of_source("kitti")
def ingest_kitti(job: IngestJob) -> State:
    """Read KITTI; frames that are new are appended."""
    return ingest_frames.fn(job)


@flow(name="ingest-world", **flow_settings())
@_of_source("world")
def ingest_world(job: IngestJob) -> State:
    """Read the built-in world; frames that are new are appended."""
    return ingest_frames.fn(job)


def __getattr__(name: str) -> Flow[..., Any]:
    """Return the flow of a source from an installed package: `ingest_NAME`."""
    source = name.removeprefix(PREFIX).replace("_", "-")
    known = {found.replace("_", "-"): found for found in SOURCES.names()}
    if not name.startswith(PREFIX) or source not in known:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def run(job: IngestJob) -> State:
        return ingest_frames.fn(job)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = SOURCES.load(known[source]).summary
    made = flow(name=f"ingest-{source}", **flow_settings())(_of_source(known[source])(run))
    globals()[name] = made
    return made
