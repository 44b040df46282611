"""The flow `make-control-maps`: a depth network's map per frame, one task per shard.

python -m nightrain.flows.controls DATASET RECIPE
"""

import sys
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.generate.control_maps import ControlJob, controls


@flow(name="make-control-maps", **flow_settings())
def make_control_maps(job: ControlJob) -> State:
    """Make the control maps of a recipe that a dataset has not yet; committed shards are kept.

    Ends as Completed, Failed if shards failed or too many rows are in quarantine, or Cancelled
    after a signal; run the same job again to resume.
    """
    return run_shards(job, partial(controls, job), "control maps", devices=job.devices)


if __name__ == "__main__":
    make_control_maps(ControlJob.model_validate({"dataset": sys.argv[1], "recipe": sys.argv[2]}))
