"""The confidence of gates in a variant's pixels, from its row to the loss."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.loader import TrainingSet
from nightrain.datasets.shards.manifest import Manifest
from nightrain.depthmodel.losses.base import LossInputs
from nightrain.depthmodel.losses.distillation import DistillationTerm, distillation_loss
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.loader import config
from support.synthetic import SIZE

RECIPE = """
name: trusted
depth: exact
conditions: {night: {}, fog: {}}
gates: [{name: structure, by_condition: {
  night: {most_lost: 1, most_novel: 100}, fog: {most_lost: 1, most_novel: 100}}}]
"""


@pytest.fixture
def gated(dataset: Path, tmp_path: Path) -> Path:
    path, stop = tmp_path / "recipe.yaml", Stop()
    path.write_text(RECIPE)
    job = GenerateJob(dataset=dataset, recipe=str(path))
    assert generate(job, executor=SerialExecutor(stop), stop=stop).num_rows == 20
    return dataset


def training_set(root: Path, **changes: object) -> TrainingSet:
    given = {"recipes": ("trusted",), "loss_size": SIZE, "variant_confidence": True}
    return TrainingSet(root, config(**given | changes))


def stored(root: Path) -> dict[str, np.ndarray]:
    """Confidence of each variant as any reader of PNG sees it, in [0, 1]."""
    manifest = Manifest(root)
    return {
        row["sample_id"]: np.asarray(Image.open(io.BytesIO(row["confidence"]["bytes"]))) / 255
        for table in manifest.tables("variants")
        for entry in manifest.entries(table)
        for row in manifest.reader(entry.rows).rows()
    }


def test_a_variant_has_its_own_confidence(gated: Path) -> None:
    pictures, samples = stored(gated), training_set(gated, p_clear=0.0)
    for index in range(len(samples)):
        sample = samples[index]
        small = pictures[str(sample["sample_id"])]
        assert small.shape == (SIZE[1] // 4, SIZE[0] // 4) and 0 < small.mean() < 1
        large = np.asarray(sample["variant_confidence"])
        assert large.shape == (SIZE[1], SIZE[0])
        np.testing.assert_allclose(large, np.kron(small, np.ones((4, 4))), atol=1e-6)


def test_clear_frames_are_trusted_everywhere(gated: Path) -> None:
    sample = training_set(gated, p_clear=1.0)[0]
    assert torch.equal(torch.as_tensor(sample["variant_confidence"]), torch.ones(SIZE[1], SIZE[0]))
    assert "variant_confidence" not in training_set(gated, variant_confidence=False)[0]


def test_a_training_set_without_variants_has_no_such_confidence() -> None:
    with pytest.raises(ValueError, match="variant_confidence: expected recipes"):
        config(variant_confidence=True)


def test_pixels_without_confidence_cost_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    label_m = 2 + 60 * torch.rand(2, 6, 8, generator=generator)
    inverse_depth = torch.rand(2, 1, 6, 8, generator=generator) + 0.01
    trusted = (torch.rand(2, 6, 8, generator=generator) > 0.5).float()
    batch = {"label_depth_m": label_m, "variant_confidence": trusted}
    inputs = LossInputs(batch=batch, inverse_depth=inverse_depth, use_confidence=False)
    value = DistillationTerm()(inputs).loss
    expected = distillation_loss(inverse_depth, 1 / label_m[:, None], trusted[:, None])
    assert value == expected
    spoilt = batch | {"label_depth_m": torch.where(trusted > 0, label_m, 1.0)}
    changed = LossInputs(batch=spoilt, inverse_depth=inverse_depth, use_confidence=False)
    assert DistillationTerm()(changed).loss == expected


def test_variants_without_confidence_pictures_are_refused(dataset: Path, tmp_path: Path) -> None:
    path, stop = tmp_path / "recipe.yaml", Stop()
    path.write_text("name: trusted\ndepth: exact\nconditions: {night: {}}\n")
    generate(
        GenerateJob(dataset=dataset, recipe=str(path)), executor=SerialExecutor(stop), stop=stop
    )
    with pytest.raises(InvalidRequest, match=r"no confidence pictures.*the gate 'structure'"):
        training_set(dataset)
