"""Scores of models in a study folder: each evaluation is made once and then read.

Always on one thread of the CPU, so that scores depend neither on the training device nor on the
number of parallel runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ValidationError

from nightrain.datasets.errors import CorruptShard, NightrainError, UnreadableFile
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.depthmodel.evaluation.results import SUMS_FILE, Evaluation, read_evaluation
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.pipelines.depth.evaluation_folder import evaluate_into, load_predictor
from nightrain.pipelines.usefulness.stability import Stability, measure_stability

STABILITY_FILE = "stability.json"


def stored_evaluation(
    folder: Path, settings: EvaluationSettings, digest: str | None
) -> Evaluation | None:
    """The complete evaluation in a folder, if it is of this model and these settings.

    `digest` None accepts any model.
    """
    try:
        evaluation = read_evaluation(folder)
    except NightrainError:
        return None
    same_model = digest is None or evaluation.model_digest == digest
    return evaluation if same_model and evaluation.settings == settings else None


def evaluate_once(
    model: str, digest: str, dataset: Path, folder: Path, settings: EvaluationSettings
) -> Evaluation:
    """Return the stored evaluation of a model, or evaluate it; raises NightrainError.

    Always on the CPU, so that scores do not depend on the training device.
    """
    kept = stored_evaluation(folder, settings, digest)
    if kept is not None:
        return kept
    return evaluate_into(folder, model, dataset, settings, num_pictured=0)


def stored_stability(folder: Path, digest: str | None) -> Stability | None:
    """The stability in a folder, if it is of this model; `digest` None accepts any model."""
    try:
        found = Stability.model_validate(
            read_record(folder / STABILITY_FILE, "stability", "record")
        )
    except (FileNotFoundError, CorruptShard, UnreadableFile, ValidationError):
        return None
    return found if digest in (None, found.model_digest) else None


def stability_once(
    model: str,
    digest: str,
    dataset: Path,
    folder: Path,
    settings: EvaluationSettings,
    variants: tuple[str, ...],
) -> Stability:
    """Return the stored stability of a model, or measure it on the split of `settings`.

    Raises NightrainError.
    """
    kept = stored_stability(folder, digest)
    if kept is None:
        predict, _ = load_predictor(model, dataset, settings)
        found = measure_stability(predict, dataset, settings.split, variants)
        kept = found.model_copy(update={"model_digest": digest})
        write_whole(folder / STABILITY_FILE, record_bytes("stability", kept.model_dump()))
    return kept


class StoredEvaluations:
    """Evaluations of a study folder, each read once while its file is the same."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[int, Evaluation]] = {}

    def read(self, folder: Path, settings: EvaluationSettings) -> Evaluation | None:
        """The complete evaluation in a folder with these settings, or None."""
        try:
            changed_ns = (folder / SUMS_FILE).stat().st_mtime_ns
        except OSError:
            return None
        if folder not in self._read or self._read[folder][0] != changed_ns:
            found = stored_evaluation(folder, settings, digest=None)
            if found is None:
                return None
            self._read[folder] = changed_ns, found
        found = self._read[folder][1]
        return found if found.settings == settings else None


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that results do not depend on the number of parallel runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
