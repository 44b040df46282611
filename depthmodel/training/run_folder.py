"""Run folder: what the run depends on, the lease of its process, and the finished model."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from nightrain.datasets.code_version import code_commit
from nightrain.datasets.errors import CorruptShard, InvalidRequest, UnreadableFile
from nightrain.datasets.io.atomic import sweep_all_drafts, write_whole
from nightrain.datasets.io.documents import mapping
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.shards.leases import Lease, held_by
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.recipe_records import VARIANTS, select_tables
from nightrain.datasets.shards.reviews import FOLDER as REVIEWS
from nightrain.datasets.shards.reviews import read_reviews, rejected_ids
from nightrain.datasets.splits import is_in_split
from nightrain.depthmodel.model_header import saved_digest
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.roles.objective import Objective
from nightrain.depthmodel.training.config import TrainConfig

IDENTITY_FILE, RESULT_FILE = "run.json", "result.json"
EXTENDED = "extended"  # in run.json: by which steps a run was continued beyond its end
RESTORE_OTHER = "Restore it from a copy, or name another folder."
RESTORE = {
    "result": "Remove it, and run the same command again: the last checkpoint gives it anew.",
    "arm": "Remove it, and run the same command again, which writes it anew.",
}


class RunFolder:
    """Folder of one run.

    Raises InvalidRequest where it holds a run with other settings or data.
    """

    def __init__(self, folder: Path, config: TrainConfig, dataset: Path) -> None:
        self.folder, self.config, self.dataset = folder, config, dataset
        self.identity = identity(config, dataset)
        self._check()

    def begin(self, step: int) -> None:
        """Write run.json, once the run is known to start at a step; raises as the class.

        A run that continues to more steps than before notes in run.json at which step it did, and
        the result of the shorter run is removed.
        """
        before = self._check()
        if _rank():
            return
        path = self.folder / IDENTITY_FILE
        if before is not None:
            self.identity |= {key: before[key] for key in (EXTENDED,) if key in before}
        if before is not None and (steps := _num_steps(before)) < self.config.num_steps:
            at = {"num_steps": steps, "at_step": step}
            self.identity[EXTENDED] = [*before.get(EXTENDED, []), at]
            before = None
        if before is None:
            write_whole(path, record_bytes("run", self.identity))
            (self.folder / RESULT_FILE).unlink(missing_ok=True)

    @contextmanager
    def leased(self) -> Iterator[Lease]:
        """Hold the run's lease; raises InvalidRequest where another process trains in the folder.

        Each process of a distributed run (torchrun's RANK) holds a lease of its own. A run that
        does not begin leaves no folder.
        """
        name = f"rank-{_rank()}" if _rank() else "run"
        lease = Lease.take(self.folder, name)
        if lease is None:
            raise InvalidRequest(
                f"another process trains in {self.folder}: {held_by(self.folder, name)}. Wait for "
                "it, or name another folder."
            )
        try:
            with lease:
                if not _rank():
                    sweep_all_drafts(self.folder)
                yield lease
        finally:
            if not (self.folder / IDENTITY_FILE).exists():
                self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        for folder in (self.folder / "_leases", self.folder / "_tmp", self.folder):
            with suppress(OSError):  # it is not there, or not empty
                folder.rmdir()

    def _check(self) -> dict[str, Any] | None:
        """Return the stored run, None for a new folder; raises InvalidRequest for another run."""
        path = self.folder / IDENTITY_FILE
        if not path.exists():
            return None
        stored = read_stored(path, "run")
        same = {key: value for key, value in stored.items() if key != EXTENDED}
        if _num_steps(stored) < self.config.num_steps:  # it is continued
            same["config"] = stored["config"] | {"num_steps": self.config.num_steps}
        ours = {key: value for key, value in self.identity.items() if key != EXTENDED}
        found = list(differences(same, ours))
        if found:
            raise InvalidRequest(
                f"{self.folder} holds a run with other settings or data: "
                f"{'; '.join(found[:5])}. Name another folder, or remove this one to "
                "start again."
            )
        return stored

    def finished_digest(self) -> str:
        """Digest of the model that was finished at the configured step, "" for other runs."""
        return finished_digest(self.folder, self.config.num_steps)

    def finish(
        self,
        objective: Objective,
        weights: dict[str, torch.Tensor],
        command: str,
        skipped: dict[str, int],
    ) -> str:
        """Write the model and its card, then result.json; return the model's digest.

        `skipped` are the counts of what was not trained on, for the record.
        """
        objective.trained.load_state_dict(weights)
        objective.save(self.folder, self._card(command))
        digest = objective.model.digest
        result = {"digest": digest, "step": self.config.num_steps, **skipped}
        write_whole(self.folder / RESULT_FILE, record_bytes("result", result))
        return digest

    def _extension_words(self) -> str:
        """How the run was continued, for the model card; "" for a run in one piece."""
        pieces = self.identity.get(EXTENDED, [])
        words = (f"from step {p['at_step']} of {p['num_steps']}" for p in pieces)
        steps = f" to {self.config.num_steps} steps, at the learning rates of the longer run."
        return f" Continued {', then '.join(words)}{steps}" if pieces else ""

    def _card(self, command: str) -> ModelCard:
        role, data = self.config.role, self.config.data
        return ModelCard(
            title=f"{self.config.name}, seed {self.config.seed}",
            description=f"{role.card_words(data)}{self._extension_words()}",
            data_set=f"{self.dataset.resolve().name}, frames {self.identity['tables'][FRAMES]}",
            recipe=", ".join(
                name.removeprefix(VARIANTS)
                for name in self.identity["tables"]
                if name.startswith(VARIANTS)
            ),
            commit=code_commit(),
            seed=self.config.seed,
            command=command,
        )


def finished_digest(folder: Path, num_steps: int) -> str:
    """Digest of a run's model that was finished after so many steps, "" for an unfinished run."""
    path = folder / RESULT_FILE
    result = read_stored(path, "result") if path.exists() else {}
    return str(result.get("digest", "")) if result.get("step") == num_steps else ""


def identity(config: TrainConfig, dataset: Path) -> dict[str, Any]:
    """Everything that a run's result depends on, as JSON; raises CorruptShard, InvalidRequest.

    The number of data loading processes does not count. Model folders are identified by the digest
    of their weights, not by their path.
    """
    settings = config.model_dump(mode="json", exclude={"num_workers": True, "tracker": True})
    for name in config.role.model_folders:
        del settings["role"][name]
    return {
        "config": settings,
        "dataset": dataset.resolve().name,
        "tables": table_digests(dataset, config),
        **{name: saved_digest(folder) for name, folder in config.role.model_folders.items()},
    }


def table_digests(dataset: Path, config: TrainConfig) -> dict[str, str]:
    """Digest of every table that a run reads, of its split, and of what people reject.

    Raises CorruptShard.
    """
    manifest, data = Manifest(dataset), config.data
    names = [FRAMES]
    names += [table for name in data.recipes for table in select_tables(manifest, name)]
    names += [f"labels/{data.labels}"] if data.labels else []
    digests = {name: _digest(manifest, name, data.split) for name in names}
    if data.recipes and (rejected := rejected_ids(read_reviews(dataset))):
        digests[REVIEWS] = hashlib.sha256("\n".join(sorted(rejected)).encode()).hexdigest()[:16]
    return digests


def _digest(manifest: Manifest, table: str, split: str) -> str:
    of_split = [
        e for e in manifest.entries(table) if is_in_split(e.about.get("split", split), split)
    ]
    rows = [f"{e.shard.name} {e.rows.sha256}" for e in of_split]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def read_stored(path: Path, kind: str) -> dict[str, Any]:
    """Read a record of a run or study, which holds an object; raises InvalidRequest."""
    try:
        return dict(mapping(read_record(path, kind, f"{kind} record")))
    except (CorruptShard, UnreadableFile, FileNotFoundError, ValueError) as error:
        raise InvalidRequest(f"{error}. {RESTORE.get(kind, RESTORE_OTHER)}") from error


def differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield the values that differ, as "config.num_steps was 500, is 600"."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{where}.{key}".strip("."))
    elif before != now:
        yield f"{where} was {before}, is {now}"


def _num_steps(stored: dict[str, Any]) -> int:
    config = stored.get("config")
    steps = config.get("num_steps") if isinstance(config, dict) else None
    return steps if isinstance(steps, int) else 0


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
