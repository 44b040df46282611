"""The flow `caption-frames`: one sentence per frame, one task per shard.

python -m nightrain.flows.caption DATASET blip2
"""

import sys
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.captions.job import CaptionJob, caption


@flow(name="caption-frames", **flow_settings())
def caption_frames(job: CaptionJob) -> State:
    """Caption the frames of a dataset that have no caption yet; committed shards are kept.

    Ends as Completed, Failed if shards failed or too many rows are in quarantine, or Cancelled
    after a signal; run the same job again to resume.
    """
    return run_shards(job, partial(caption, job), "captions")


if __name__ == "__main__":
    caption_frames(CaptionJob.model_validate({"dataset": sys.argv[1], "captioner": sys.argv[2]}))
