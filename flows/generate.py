"""The flow `generate-variants`: variants of a recipe, one task per shard.

python -m nightrain.flows.generate DATASET weather
"""

import sys
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.shard_plan import run_shards
from nightrain.pipelines.generate.job import GenerateJob, generate


@flow(name="generate-variants", **flow_settings())
def generate_variants(job: GenerateJob) -> State:
    """Generate a recipe's missing variants; committed shards are kept.

    Ends as Completed, Failed if shards failed or too many rows are in quarantine, or Cancelled
    after a signal; run the same job again to resume.
    """
    return run_shards(
        job,
        partial(generate, job),
        "variants",
        num_workers=job.num_workers,
        gpu_limit=job.held_limit,
        devices=job.devices,
    )


if __name__ == "__main__":
    generate_variants(GenerateJob(dataset=Path(sys.argv[1]), recipe=sys.argv[2]))
