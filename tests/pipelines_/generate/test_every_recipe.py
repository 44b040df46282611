"""Built-in recipes: a run that is stopped, resumed, and replayed.

Recipes with hub weights draw with small random networks of their family. Those of the engine
`pipeline` are in test_pipeline_engine.py, and the paper's in test_gdt.py.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.replay import replay
from support.paths import ROOT
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_diffusion import family, make, make_and_stop

NUM_FRAMES = 3
NAMES = ["weather-demo", "weather", "weather-world"]
FROM_HUB = {  # recipe -> family of small networks
    "diffusion": "sd15",
    "diffusion-fast": "sd15",
    "diffusion-hyper": "sd15",
    "diffusion-lcm": "sd15",
    "diffusion-sd-turbo": "sd21",
    "diffusion-sdxl-turbo": "sdxl",
}
DRAWN = [
    pytest.param(name, marks=pytest.mark.campaign)
    for name in ("diffusion-world", "diffusion-bench", *FROM_HUB)
]
LAYER = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"  # of the small UNet


@pytest.mark.parametrize("name", [*NAMES, *DRAWN])
def test_a_stopped_run_of_a_recipe_resumes_and_replays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = yaml.safe_load((ROOT / f"pipelines/recipes/{name}.yaml").read_text())
    if name in FROM_HUB:
        fields = on_small_networks(fields, family(FROM_HUB[name]), tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(fields | {"batch_size": 1, "size": [64, 40]}))
    whole, root = tmp_path / "whole", tmp_path / "dataset"
    ingest_synthetic(whole, SyntheticSource(NUM_FRAMES))
    shutil.copytree(whole, root)
    make(whole, path)
    assert make_and_stop(root, path, monkeypatch).stopped
    assert not all_rows(root) and list((root / "_partial").iterdir())
    make(root, path)
    rows = all_rows(root)
    assert rows == all_rows(whole) and len(rows) == NUM_FRAMES * len(fields["conditions"])
    assert verify(root).accepted
    report = replay(root, next(iter(rows)))
    assert report.identical and not report.differences


def on_small_networks(fields: dict[str, Any], folder: Path, tmp_path: Path) -> dict[str, Any]:
    """The recipe with the settings alone changed that a test cannot afford."""
    engine = fields["engine"] | {"base": {"id_or_folder": str(folder / "base")}}
    engine["controls"] = [{"weights": {"id_or_folder": str(folder / "controlnet-depth")}}]
    engine |= {"dtype": "float32", "compile": "off", "channels_last": False}
    engine |= {"generation_width": 64, "steps": min(engine["steps"], 4)}
    if "lora" in engine:
        keys = {f"lora_unet_{LAYER}.lora_down.weight": (2, 8)}
        keys |= {f"lora_unet_{LAYER}.lora_up.weight": (8, 2)}
        torch.manual_seed(0)
        file = tmp_path / "lora.safetensors"
        save_file({key: torch.randn(shape) for key, shape in keys.items()}, file)
        engine["lora"] = {"weights": {"id_or_folder": str(file)}}
    return fields | {"engine": engine, "depth": "exact"}
