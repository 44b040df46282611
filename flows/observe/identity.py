"""Run identity: the name and the tags by which a flow run is found."""

from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import FRAMES, Manifest

MAX_NAME = 100  # characters that lists in the dashboard show
NUM_READ = 16  # manifest entries that are read for the sources


class Described(Protocol):
    """Job that says what it makes."""

    @property
    def title(self) -> str:
        """What the job makes: "weather-1a2b3c4d on nuscenes"."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by; raises NightrainError for an invalid job."""
        ...


def run_name() -> str:
    """Return the name of the current flow run from its parameter `job`."""
    here = FlowRunContext.get()
    job = here.parameters.get("job") if here is not None and here.parameters else None
    title = getattr(job, "title", "")
    return title[:MAX_NAME] or "unknown job"


def flow_name() -> str:
    """Return the name of the current run's flow: "generate-variants"; "" outside of a run."""
    here = FlowRunContext.get()
    return here.flow.name if here is not None and here.flow is not None else ""


def run_tags(job: Described) -> set[str]:
    """Return the tags of a job's runs: its own, and the sources of its dataset.

    Raises NightrainError for an invalid job.
    """
    tags = {*job.tags, *sources(getattr(job, "dataset", None))}
    return {tag for tag in tags if tag}


def sources(root: Path | None) -> set[str]:
    """Names of the sources of a dataset's frames, from a few evenly spaced shards.

    Raises CorruptShard, UnreadableFile.
    """
    if root is None:
        return set()
    paths = matching(root / "_manifest" / FRAMES, "*.json")
    spaced = {int(i) for i in np.linspace(0, len(paths) - 1, NUM_READ)} if paths else set()
    entries = [Manifest(root).read_entry(paths[i]) for i in spaced]
    return {entry.about["source"] for entry in entries if "source" in entry.about}


def add_tags(job: Described) -> None:
    """Add a job's tags to the current flow run; an invalid job has none and fails on its own."""
    here = FlowRunContext.get()
    if here is None or here.flow_run is None or not isinstance(here.client, SyncPrefectClient):
        return
    with suppress(NightrainError):
        tags = sorted({*here.flow_run.tags, *run_tags(job)})
        here.client.update_flow_run(here.flow_run.id, tags=tags)
        here.flow_run.tags = tags  # events of this run carry them
