"""Built-in recipes that need no download: a run that is stopped, resumed, and replayed."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.batch import BatchGenerator
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import ROOT
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_diffusion import make

NUM_FRAMES = 3
NAMES = ["weather-demo", "weather", "weather-world"]
DRAWN = [
    pytest.param(n, marks=pytest.mark.campaign) for n in ("diffusion-world", "diffusion-bench")
]


@pytest.mark.parametrize("name", [*NAMES, *DRAWN])
def test_a_stopped_run_of_a_recipe_resumes_and_replays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = yaml.safe_load((ROOT / f"pipelines/recipes/{name}.yaml").read_text())
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(fields | {"batch_size": 1, "size": [64, 40]}))
    whole, root, stop = tmp_path / "whole", tmp_path / "dataset", Stop()
    ingest_synthetic(whole, SyntheticSource(NUM_FRAMES))
    shutil.copytree(whole, root)
    make(whole, path)
    complete = BatchGenerator.complete
    with monkeypatch.context() as patch:
        patch.setattr(BatchGenerator, "complete", lambda *a: (stop.request(), complete(*a))[1])
        job = GenerateJob(dataset=root, recipe=str(path))
        assert generate(job, executor=SerialExecutor(stop), stop=stop).stopped
    assert not all_rows(root) and list((root / "_partial").iterdir())
    make(root, path)
    rows = all_rows(root)
    assert rows == all_rows(whole) and len(rows) == NUM_FRAMES * len(fields["conditions"])
    assert verify(root).accepted
    report = replay(root, next(iter(rows)))
    assert report.identical and not report.differences
