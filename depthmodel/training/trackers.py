"""Experiment trackers of accelerate: TensorBoard and Weights & Biases, next to metrics.jsonl.

RUN/tensorboard/    event files; `tensorboard --logdir RUN`
RUN/wandb/          files of Weights & Biases; with WANDB_MODE=offline, `wandb sync` sends them
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.training.config import TrainConfig


def require_tracker(tracker: str | None) -> None:
    """Raise InvalidRequest if the package of a tracker is not installed."""
    if tracker is not None and find_spec(tracker) is None:
        raise InvalidRequest(
            f"The tracker {tracker!r} needs the package {tracker}, which is not installed. Install "
            f"it with `pip install {tracker}`, or leave the tracker out: metrics.jsonl holds the "
            "same values."
        )


def start_trackers(
    accelerator: Accelerator, config: TrainConfig, run: Path, first_step: int
) -> None:
    """Start the configured tracker in the main process; a resumed run continues after a step."""
    if config.tracker is None:
        return
    settings: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": first_step},
        "wandb": {
            "name": run.name,
            "dir": str(run),
            "id": _run_id(run),
            "resume": "allow",
            "config": config.model_dump(mode="json"),
        },
    }
    of_tracker = {config.tracker: settings[config.tracker]}
    name = "tensorboard" if config.tracker == "tensorboard" else "nightrain"
    accelerator.init_trackers(name, init_kwargs=of_tracker)


def log_to_trackers(accelerator: Accelerator, values: Mapping[str, float], step: int) -> None:
    """Log the values of a report."""
    if accelerator.trackers:
        accelerator.log(dict(values), step=step)


def finish_trackers(accelerator: Accelerator) -> None:
    """Flush and close the trackers; unlike `end_training`, processes stay connected."""
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.trackers = []


def _run_id(run: Path) -> str:
    """Identifier of a run folder, so that a resumed run continues the same one."""
    return f"{run.resolve().parent.name}-{run.name}".replace("/", "-")[-100:]
