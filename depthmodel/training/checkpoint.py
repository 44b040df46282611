"""Checkpoints of a training run: complete or absent, and enough to resume bit for bit.

    RUN/checkpoints/step-0000500/
        <part>.safetensors    tensors of each part: networks, average, optimizer
        state.json            step, sampler, and the digest of each part

A folder is written under another name, synced and renamed, so a folder with its final name is
complete; drafts of killed processes are removed by the next save. No random state is stored: every
step seeds the generators with (seed, step).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from nightrain.datasets.errors import CorruptShard, InvalidRequest, UnreadableFile
from nightrain.datasets.io.atomic import no_space_is_disk_full, remove, sweep_all_drafts
from nightrain.datasets.io.atomic_folder import whole_folder
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching, sha256_of
from nightrain.depthmodel.tensor_file import save_tensors

Tensors = dict[str, torch.Tensor]
STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State that a run resumes from."""

    step: int  # optimiser steps done
    facts: dict[str, Any]  # not tensors: the state of the sampler and of the logged means
    parts: dict[str, Tensors]  # "networks", "average", "optimizer"


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write a checkpoint into a run's checkpoint folder and delete all but the last `keep`.

    Raises DiskFull, and leaves earlier checkpoints as they were.
    """
    final = folder / f"step-{checkpoint.step:07d}"
    with no_space_is_disk_full(folder), whole_folder(final) as draft:
        digests = {}
        for name, tensors in checkpoint.parts.items():
            path = draft / f"{name}.safetensors"
            save_tensors(path, tensors)
            digests[name] = sha256_of(path)
        state = {"step": checkpoint.step, "facts": checkpoint.facts, "sha256": digests}
        (draft / STATE).write_bytes(record_bytes("state", state))
    sweep_all_drafts(folder)
    for old in checkpoints(folder)[:-keep]:
        (old / STATE).unlink()  # no longer a checkpoint, even if the removal is interrupted
        remove(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a run's checkpoint folder, oldest first; raises UnreadableFile."""
    return [p for p in matching(folder, "step-*") if (p / STATE).is_file()]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check its digests; raises InvalidRequest for a damaged one."""
    try:
        state = read_record(path / STATE, "state", "state of a checkpoint")
        step, facts, digests = int(state["step"]), dict(state["facts"]), dict(state["sha256"])
        damaged = [n for n, d in digests.items() if sha256_of(path / f"{n}.safetensors") != d]
    except (OSError, CorruptShard, UnreadableFile, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"{path} is not a valid checkpoint: {error}. {_advice(path)}"
        ) from error
    if damaged:
        raise InvalidRequest(f"{path} has damaged parts: {', '.join(damaged)}. {_advice(path)}")
    parts = {name: load_file(path / f"{name}.safetensors") for name in digests}
    return Checkpoint(step, facts, parts)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Moments of an optimiser as named tensors: "<parameter number>.exp_avg"."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Any]) -> None:
    """Load an optimiser's moments; its own settings stay."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _advice(path: Path) -> str:
    return f"Remove {path.name} to resume from the previous checkpoint, or from the start."
