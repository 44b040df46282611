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

from datasets.catalog import FRAMES, Catalog
from datasets.claims import Claim
from datasets.disk import fsync
from datasets.errors import Refused
from depthmodel.card import ModelCard
from depthmodel.objectives import Objective
from depthmodel.training_config import StudentConfig, TrainConfig

REQUEST, RESULT = "run.json", "result.json"


class RunFolder:
    """The folder of one run; raises Refused where it holds a run with other settings or data."""

    def __init__(self, folder: Path, config: TrainConfig, dataset: Path) -> None:
        self.folder, self.config, self.dataset = folder, config, dataset
        asked = {
            "config": config.model_dump(mode="json"),
            "dataset": dataset.resolve().name,
            "tables": table_digests(dataset, config),
        }
        path = folder / REQUEST
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, asked)
            return
        differences = list(_differences(json.loads(path.read_text()), asked))
        if differences:
            raise Refused(
                f"{folder} holds a run with other settings: {'; '.join(differences[:5])}. Give "
                "another folder, or remove this one to begin anew."
            )

    @contextmanager
    def claimed(self) -> Iterator[Claim]:
        """Keep other processes off the run; raises Refused where one is at it."""
        if int(os.environ.get("RANK", "0")):  # the main process holds it for all
            yield Claim.take(self.folder, f"rank-{os.environ['RANK']}") or _nobody()
            return
        claim = Claim.take(self.folder, "run")
        if claim is None:
            raise Refused(
                f"another process trains in {self.folder}. Wait for it, or give another folder."
            )
        with claim:
            yield claim

    def finished_digest(self) -> str:
        """Digest of the finished model, "" while there is none."""
        path = self.folder / RESULT
        return json.loads(path.read_text())["digest"] if path.exists() else ""

    def finish(self, objective: Objective, weights: dict[str, torch.Tensor], command: str) -> str:
        """Write the model and its card, then the result; gives the model's digest."""
        objective.trained.load_state_dict(weights)
        objective.save(self.folder, self._card(command))
        digest = objective.model.digest
        _write(self.folder / RESULT, {"digest": digest, "step": self.config.num_steps})
        return digest

    def _card(self, command: str) -> ModelCard:
        role, data = self.config.role, self.config.data
        shown = ", ".join(data.conditions)
        words = (
            f"A student on {shown} frames and what engines made of them; labels: {data.labels}."
            if isinstance(role, StudentConfig)
            else f"A teacher that saw {shown} frames and learned from {role.supervision}."
        )
        return ModelCard(
            title=f"{self.config.name}, seed {self.config.seed}",
            description=words,
            data_set=f"{self.dataset.resolve().name}, frames {_short(self.dataset, self.config)}",
            recipe=", ".join(data.recipes),
            commit=code_commit(),
            seed=self.config.seed,
            command=command,
        )


def table_digests(dataset: Path, config: TrainConfig) -> dict[str, str]:
    """Digest of the rows of each table that a run reads; raises CorruptShard."""
    catalog = Catalog(dataset)
    names = [FRAMES]
    names += [t for recipe in config.data.recipes for t in catalog.tables(f"variants/{recipe}/")]
    names += [f"labels/{config.data.labels}"] if config.data.labels else []
    return {name: _digest(catalog, name) for name in names}


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


def _digest(catalog: Catalog, table: str) -> str:
    rows = [f"{e.shard.name} {e.rows.keys_sha256}" for e in catalog.entries(table)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _short(dataset: Path, config: TrainConfig) -> str:
    return table_digests(dataset, config)[FRAMES]


def _differences(before: Any, asked: Any, where: str = "") -> Iterator[str]:
    """What is not the same, as "config.num_steps was 500, is 600"."""
    if isinstance(before, dict) and isinstance(asked, dict):
        for key in sorted({*before, *asked}):
            yield from _differences(before.get(key), asked.get(key), f"{where}.{key}".strip("."))
    elif before != asked:
        yield f"{where} was {before}, is {asked}"


def _write(path: Path, value: object) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1))
    fsync(draft)
    os.replace(draft, path)


def _nobody() -> Claim:
    raise Refused("another process of the same rank trains in this folder.")
