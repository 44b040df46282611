"""Generate the variants of new frames every night at two o'clock, as a Prefect deployment.

    prefect server start                                          # once, in another terminal
    export PREFECT_API_URL=http://127.0.0.1:4200/api
    python examples/schedule_nightly.py /data/dataset weather     # keeps running, starts the runs

A run makes only what is missing: a night without new frames costs seconds, and a night that was
interrupted is completed by the next one.
"""

import sys
from pathlib import Path
from typing import Any

from nightrain.flows.generate import generate_variants
from nightrain.pipelines.generate.job import GenerateJob

CRON = "0 2 * * *"


def deployment(dataset: Path, recipe: str) -> dict[str, Any]:
    """Return the deployment's name, schedule and parameters; raises ValidationError."""
    job = GenerateJob(dataset=dataset, recipe=recipe, num_workers=2)
    return {
        "name": "nightly",
        "cron": CRON,
        "parameters": {"job": job.model_dump(mode="json")},
        "limit": 1,  # a run that is still going at two o'clock is not overtaken by the next
    }


if __name__ == "__main__":
    generate_variants.serve(**deployment(Path(sys.argv[1]), sys.argv[2]))
