"""The flow `label-depth`: a teacher's depth of clear frames, one task per shard.

python -m nightrain.flows.label DATASET TEACHER
"""

import sys
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.labels.job import LabelJob, label


@flow(name="label-depth", **flow_settings())
def label_depth(job: LabelJob) -> State:
    """Label the clear frames of a dataset that have no labels yet; committed shards are kept.

    Ends as Completed, Failed if shards failed or too many rows are in quarantine, or Cancelled
    after a signal; run the same job again to resume.
    """
    return run_shards(job, partial(label, job), "labels", num_workers=job.num_workers)


if __name__ == "__main__":
    label_depth(LabelJob.model_validate({"dataset": sys.argv[1], "teacher": sys.argv[2]}))
