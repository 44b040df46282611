"""Number of steps selected on val: the smallest one on the plateau of earlier studies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import matching
from nightrain.depthmodel.training.run_folder import read_stored
from nightrain.pipelines.usefulness.arms import BASELINE, MAIN
from nightrain.pipelines.usefulness.records import STUDY_FILE, Study
from nightrain.pipelines.usefulness.scoring import stored_evaluation

TOLERANCE = 0.01  # of the lowest error: less is no gain


def errors_by_steps(folders: Sequence[Path], frames: str, teacher: str) -> dict[int, float]:
    """Mean abs_rel on val of the arms clear and weather, by the number of steps of each study.

    `frames` and `teacher` are the digests of the study that needs the number. Raises InvalidRequest
    for a folder of another split than val or of other data, or without scores.
    """
    found = {}
    for folder in folders:
        if not (folder / STUDY_FILE).is_file():
            raise InvalidRequest(f"{folder} is not the folder of a study: it has no {STUDY_FILE}.")
        study = Study.model_validate(read_stored(folder / STUDY_FILE, "study"))
        if study.settings.split != "val":
            raise InvalidRequest(
                f"{folder} reports the split {study.settings.split}; steps are selected on val. "
                "Run that study again with --split val in another folder."
            )
        if (study.frames, study.teacher) != (frames, teacher):
            raise InvalidRequest(
                f"{folder} has other train frames or another teacher than this study; steps are "
                "selected among studies of the same data."
            )
        found[study.num_steps] = _error(folder, study)
    return dict(sorted(found.items()))


def smallest_on_plateau(errors: dict[int, float]) -> int:
    """The smallest number of steps with an error at most 1 % above the lowest."""
    lowest = min(errors.values())
    return min(steps for steps, error in errors.items() if error <= (1 + TOLERANCE) * lowest)


def _error(folder: Path, study: Study) -> float:
    runs = [run for arm in (BASELINE, MAIN) for run in matching(folder / arm, "seed-*")]
    scores = [stored_evaluation(run, study.settings, digest=None) for run in runs]
    values = [one.score("all").metrics for one in scores if one is not None]
    errors = [metrics["abs_rel"].mean for metrics in values if metrics is not None]
    if not errors:
        raise InvalidRequest(f"{folder} has no finished run of the arms {BASELINE} or {MAIN}.")
    return float(np.mean(errors))
