"""A tiny randomly initialised family, its settings and requests, for the tests of the engine."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nightrain.benchmarks.random_family import (
    IP_ADAPTER_FILE,
    write_tiny_family,
)
from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.diffusion.models.parts import Control, IpAdapter
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.generate.batch import BatchGenerator
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop

torch.set_num_threads(1)  # networks this small gain nothing, and other tests are running

HEIGHT, WIDTH = 48, 64


@functools.cache
def family(name: str) -> Path:
    """Folder of a tiny family, written once per process."""
    folder = tempfile.TemporaryDirectory(prefix="tiny-")
    _kept.append(folder)
    return write_tiny_family(Path(folder.name), name)


_kept: list[tempfile.TemporaryDirectory] = []


def write_recipe(folder: Path, **changes: object) -> Path:
    """A recipe on the tiny family, in JSON, which is YAML; `engine` changes the engine's part."""
    engine = {**tiny_engine(), **changes.pop("engine", {})}  # type: ignore[dict-item]
    values: dict[str, object] = {
        "name": "tiny",
        "engine": engine,
        "depth": "exact",
        "batch_size": 3,
        "conditions": {"night": {}, "rain": {}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(values | changes))
    return path


def make(root: Path, recipe: Path, **job: object) -> RunReport:
    """Generate the variants of a recipe file on a dataset, in this process."""
    stop = Stop()
    wanted = GenerateJob(dataset=root, recipe=str(recipe), **job)  # type: ignore[arg-type]
    return generate(wanted, executor=SerialExecutor(stop), stop=stop)


def make_and_stop(root: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> RunReport:
    """Begin as `make` does, and stop in an orderly way after the first batch."""
    stop, complete = Stop(), BatchGenerator.complete
    with monkeypatch.context() as patch:
        patch.setattr(BatchGenerator, "complete", lambda *a: (stop.request(), complete(*a))[1])
        job = GenerateJob(dataset=root, recipe=str(recipe))
        return generate(job, executor=SerialExecutor(stop), stop=stop)


def tiny_engine() -> dict[str, object]:
    """The section `engine` of a recipe on the tiny family."""
    tiny = family("sd15")
    return {
        "name": "diffusion",
        "generation_width": 64,
        "base": {"id_or_folder": str(tiny / "base")},
        "controls": [{"weights": {"id_or_folder": str(tiny / "controlnet-depth")}}],
        "scheduler": "ddim",
        "steps": 2,
    }


def weights(name: str, part: str) -> Weights:
    return Weights(str(family(name) / part))


def control(name: str, kind: str = "depth", **more: Any) -> Control:
    part = "controlnet-union" if name == "sdxl-union" else f"controlnet-{kind}"
    return Control(weights=weights(name, part), kind=kind, **more)  # type: ignore[arg-type]


def ip_adapter(name: str) -> IpAdapter:
    folder = family(name) / "ip-adapter"
    return IpAdapter(
        weights=Weights(str(folder)),
        file=IP_ADAPTER_FILE,
        image_encoder=Weights(str(folder), subfolder="image_encoder"),
        scale=0.7,
    )


def settings(name: str = "sd15", **changes: Any) -> DiffusionSettings:
    """Settings of a tiny family: one depth control, four steps."""
    given: dict[str, Any] = {
        "family": name,
        "base": weights(name, "base"),
        "controls": (control(name),),
        "scheduler": "ddim",
        "steps": 4,
    }
    return DiffusionSettings(**(given | changes))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An image of coloured 8x8 blocks: noise of single pixels would not survive the embedding."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def request(number: int, **changes: Any) -> Request:
    """A request whose image, control, prompt, severity and seed depend on its number."""
    given: dict[str, Any] = {
        "sample_id": f"sample-{number}",
        "image": picture(number),
        "depth_m": np.full((HEIGHT, WIDTH), 10.0, np.float32),
        "intrinsics": np.eye(3),
        "condition": Condition.NIGHT,
        "severity": (number % 5) / 4,
        "seed": 1000 + number,
        "prompt": f"At night, street {number}",
        "control_images": (picture(100 + number),),
    }
    return Request(**(given | changes))
