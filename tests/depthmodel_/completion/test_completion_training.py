"""Training of the completion network: samples by seed, resumption, export and its refusals."""

from pathlib import Path

import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.completion import train
from nightrain.depthmodel.completion.complete import load_completer
from nightrain.depthmodel.completion.training_set import CompletionSet
from support.synthetic import SyntheticSource, ingest_synthetic


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    ingest_synthetic(folder, SyntheticSource(3))
    return folder


def test_a_sample_depends_on_seed_and_number_alone(dataset: Path) -> None:
    data = CompletionSet(dataset)
    first, again, other = (data.batch(seed, 4, 1) for seed in (0, 0, 1))
    assert torch.equal(first.image, again.image) and torch.equal(first.planes, again.planes)
    assert not torch.equal(first.planes, other.planes)
    assert first.image.shape[2:] == first.planes.shape[2:] == first.exact_m.shape[2:]
    assert bool(first.planes.isfinite().all()) and bool((first.exact_m > 0).any())


def test_a_run_that_stops_resumes_to_the_same_weights(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "BATCH", 1)
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 1)
    train.Run(dataset, tmp_path / "whole", 2, 0).train()
    stopped = train.Run(dataset, tmp_path / "parts", 2, 0)
    stopped.num_steps = 1
    monkeypatch.setattr(train, "_rate", lambda step, num_steps, rate=train._rate: rate(step, 2))
    stopped.train()
    train.Run(dataset, tmp_path / "parts", 2, 0).train()
    for name in ("whole", "parts"):
        train.export(tmp_path / name, tmp_path / f"{name}-weights")
    whole, parts = (load_completer(str(tmp_path / f"{n}-weights")) for n in ("whole", "parts"))
    assert whole.digest == parts.digest
    start = train.CompletionNetwork().last.weight
    assert not torch.equal(whole.network.last.weight, start)


def test_frames_without_lidar_or_runs_without_checkpoint_are_refused(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="no clear val frames with exact depth and LiDAR"):
        CompletionSet(dataset, "val")
    with pytest.raises(InvalidRequest, match="has no checkpoint"):
        train.export(tmp_path / "absent", tmp_path / "weights")
