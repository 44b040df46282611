"""Verify job: counts of an accepted dataset, and one sentence for a damaged one."""

from pathlib import Path

import pytest

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.pipelines.inspect.verify_job import VerifyJob, require_verified
from nightrain.pipelines.runs.stop import Stop


def verified(dataset: Path, stop: Stop) -> str:
    job = VerifyJob(dataset=dataset)
    report = require_verified(job, stop=stop, on_step=lambda _done, _total: None)
    return "stopped" if report.stopped else report.line


def test_an_accepted_dataset_is_counted(dataset: Path) -> None:
    assert verified(dataset, Stop()) == "accepted: 3 shards, 10 rows, 0 quarantined"


def test_a_damaged_dataset_is_named(dataset: Path) -> None:
    path = dataset / Manifest(dataset).entries(FRAMES)[0].rows.path
    path.unlink()
    with pytest.raises(NightrainError, match=r"dataset has 1 problem. frames/00000.parquet: "):
        verified(dataset, Stop())


def test_files_without_entries_are_named(dataset: Path) -> None:
    for path in (dataset / "_manifest" / FRAMES).iterdir():
        path.unlink()
    with pytest.raises(NightrainError, match=r"3 problems. frames/00000.parquet: it has no man"):
        verified(dataset, Stop())


def test_a_manifest_without_entries_is_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "_manifest").mkdir()
    with pytest.raises(NightrainError, match="holds no committed shards"):
        verified(tmp_path, Stop())


def test_a_stopped_verification_says_so(dataset: Path) -> None:
    stop = Stop()
    stop.request()
    assert verified(dataset, stop) == "stopped"
