"""A training run's folder: what was asked for, who is at it, and the result."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.shards.leases import Lease
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.model_folder import saved_digest
from nightrain.depthmodel.roles.config import RestorerConfig, StudentConfig, TrainConfig
from nightrain.depthmodel.roles.objective import Objective

REQUEST, RESULT = "run.json", "result.json"
ELSEWHERE = ("teacher", "base")  # folders: who lies there counts, and not where


class RunFolder:
    """The folder of one run.

    Raises InvalidRequest where it holds a run with other settings or data.
    """

    def __init__(self, folder: Path, config: TrainConfig, dataset: Path) -> None:
        self.folder, self.config, self.dataset = folder, config, dataset
        self.asked = request(config, dataset)
        self._check()

    def begin(self) -> None:
        """Write what is asked for, once it is known to work.

        Raises InvalidRequest as the class does.
        """
        self._check()
        if not (self.folder / REQUEST).exists() and not _rank():
            write_whole(self.folder / REQUEST, json.dumps(self.asked, indent=1))

    @contextmanager
    def leased(self) -> Iterator[Lease]:
        """Keep other processes off the run; raises InvalidRequest where one is at it.

        Each process of one run (torchrun's RANK) holds a lease of its own.
        """
        lease = Lease.take(self.folder, f"rank-{_rank()}" if _rank() else "run")
        if lease is None:
            raise InvalidRequest(
                f"another process trains in {self.folder}. Wait for it, or give another folder."
            )
        with lease:
            yield lease

    def _check(self) -> None:
        path = self.folder / REQUEST
        if not path.exists():
            return
        before = _with_new_fields(json.loads(path.read_text()), self.config)
        found = list(_differences(before, self.asked))
        if found:
            raise InvalidRequest(
                f"{self.folder} holds a run with other settings or data: "
                f"{'; '.join(found[:5])}. Give another folder, or remove this one to begin "
                "anew."
            )

    def finished_digest(self) -> str:
        """Digest of the finished model, "" while there is none."""
        path = self.folder / RESULT
        return json.loads(path.read_text())["digest"] if path.exists() else ""

    def finish(self, objective: Objective, weights: dict[str, torch.Tensor], command: str) -> str:
        """Write the model and its card, then the result; gives the model's digest."""
        objective.trained.load_state_dict(weights)
        objective.save(self.folder, self._card(command))
        digest = objective.model.digest
        result = {"digest": digest, "step": self.config.num_steps}
        write_whole(self.folder / RESULT, json.dumps(result, indent=1))
        return digest

    def _card(self, command: str) -> ModelCard:
        role, data = self.config.role, self.config.data
        shown = ", ".join(data.conditions)
        if isinstance(role, StudentConfig):
            words = f"A student on {shown} frames and what engines made of them; labels: "
            words += f"{data.labels}."
        elif isinstance(role, RestorerConfig):
            words = f"Trained on {shown} frames with {role.target} depth; not trained: "
            words += f"{', '.join(role.frozen) or 'nothing'}."
        else:
            words = f"A teacher that saw {shown} frames and learned from {role.supervision}."
        return ModelCard(
            title=f"{self.config.name}, seed {self.config.seed}",
            description=words,
            data_set=f"{self.dataset.resolve().name}, frames {self.asked['tables'][FRAMES]}",
            recipe=", ".join(data.recipes),
            commit=code_commit(),
            seed=self.config.seed,
            command=command,
        )


def request(config: TrainConfig, dataset: Path) -> dict[str, Any]:
    """All that a run's result depends on, as JSON; raises CorruptShard, InvalidRequest for no
    teacher.

    How many processes read, and where the teacher lies, do not matter; who the teacher is does.
    """
    teacher, base = (getattr(config.role, name, None) for name in ELSEWHERE)
    return {
        "config": _settings(config),
        "dataset": dataset.resolve().name,
        "tables": table_digests(dataset, config),
        "teacher": teacher and saved_digest(teacher),
        **({"base": saved_digest(base)} if base else {}),
    }


def _settings(config: TrainConfig) -> dict[str, Any]:
    """A request's settings, without what does not matter and without the folders ELSEWHERE."""
    asked = config.model_dump(mode="json", exclude={"num_workers": True, "tensorboard": True})
    for name in ELSEWHERE:
        asked["role"].pop(name, None)
    return asked


def _with_new_fields(before: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """An earlier request, with the defaults of fields that have come since: a run may go on."""
    folders = {n: getattr(config.role, n) for n in ELSEWHERE if hasattr(config.role, n)}
    role = before["config"]["role"] | folders
    try:
        parsed = TrainConfig.model_validate(before["config"] | {"role": role})
    except ValidationError:  # of settings that are none today: shown as they are
        return before
    return before | {"config": _settings(parsed)}


def table_digests(dataset: Path, config: TrainConfig) -> dict[str, str]:
    """Digest of each table's files of the split that a run reads; raises CorruptShard."""
    manifest, data = Manifest(dataset), config.data
    names = [FRAMES]
    names += [t for recipe in data.recipes for t in manifest.tables(f"variants/{recipe}/")]
    names += [f"labels/{data.labels}"] if data.labels else []
    return {name: _digest(manifest, name, data.split) for name in names}


def code_commit() -> str:
    """Commit of this repository, with + where files were changed since; "" outside of git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return ""
    if commit.returncode:
        return ""
    return commit.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def _digest(manifest: Manifest, table: str, split: str) -> str:
    of_split = [e for e in manifest.entries(table) if e.about.get("split", split) == split]
    rows = [f"{e.shard.name} {e.rows.sha256}" for e in of_split]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _differences(before: Any, asked: Any, where: str = "") -> Iterator[str]:
    """What is not the same, as "config.num_steps was 500, is 600"."""
    if isinstance(before, dict) and isinstance(asked, dict):
        for key in sorted({*before, *asked}):
            yield from _differences(before.get(key), asked.get(key), f"{where}.{key}".strip("."))
    elif before != asked:
        yield f"{where} was {before}, is {asked}"


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
