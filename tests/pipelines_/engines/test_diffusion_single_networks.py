"""Autoencoders and ControlNets as single files, under the names of both codes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file, save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.ldm_names import ldm_controlnet_name
from nightrain.pipelines.engines.diffusion.models.loading import load_models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from support.ldm import original_vae
from support.tiny_diffusion import control, family, request, settings, write_tiny_family

Tensors = dict[str, torch.Tensor]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def image_of(wanted: DiffusionSettings) -> np.ndarray:
    return DiffusionEngine(wanted, offline=True).generate([request(1)])[0].image


def saved(tensors: Tensors, folder: Path) -> Weights:
    path = folder / "one.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return Weights(str(path))


def other_vae(folder: Path) -> Path:
    """An autoencoder with other weights than the base model's."""
    return write_tiny_family(folder / "other", "sdxl", seed=7) / "base/vae"


def with_prefix(folder: Path) -> Tensors:
    return {f"first_stage_model.{key}": value for key, value in original_vae(folder).items()}


def diffusers_names(folder: Path) -> Tensors:
    return load_file(folder / WEIGHTS)


def names_of_2022(folder: Path) -> Tensors:
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = diffusers_names(folder)
    for ours, older in new.items():
        tensors = {key.replace(ours, older): value for key, value in tensors.items()}
    return tensors


@pytest.mark.parametrize("names", [diffusers_names, names_of_2022, original_vae, with_prefix])
def test_an_autoencoder_in_one_file_draws_what_its_folder_draws(names: Any, tmp_path: Path) -> None:
    vae = other_vae(tmp_path)
    images = [
        image_of(settings("sdxl", vae=weights))
        for weights in (Weights(str(vae)), saved(names(vae), tmp_path))
    ]
    assert np.array_equal(*images) and not np.array_equal(images[0], image_of(settings("sdxl")))


def original_control(folder: Path) -> Tensors:
    """Tensors of a ControlNet under the names of the original code."""
    found = {}
    for key, value in load_file(folder / WEIGHTS).items():
        module, _, kind = key.rpartition(".")
        found[f"control_model.{ldm_controlnet_name(module, 1)}.{kind}"] = value
    return found


def test_original_names_of_a_controlnet_are_those_that_diffusers_converts() -> None:
    folder = family("sd15") / "controlnet-depth"
    net = load_models(settings(), torch.device("cpu"), offline=True).controlnets[0]
    back = convert_controlnet_checkpoint(original_control(folder), dict(net.config))  # type: ignore
    expected = load_file(folder / WEIGHTS)
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("name", "is_original"),
    [("sd15", False), ("sd15", True), ("sdxl", False), ("sdxl", True), ("sdxl-union", False)],
)
def test_a_controlnet_in_one_file_draws_what_its_folder_draws(
    name: str, is_original: bool, tmp_path: Path
) -> None:
    plain = control(name)
    folder = Path(plain.weights.id_or_folder)
    tensors = original_control(folder) if is_original else load_file(folder / WEIGHTS)
    single = plain.model_copy(update={"weights": saved(tensors, tmp_path)})
    made = DiffusionEngine(settings(name, controls=(single,)), offline=True)
    variant = made.generate([request(1)])[0]
    assert np.array_equal(variant.image, image_of(settings(name)))
    assert variant.provenance["model_control_0"].startswith("one.safetensors@")


def test_files_that_are_not_such_networks_are_refused_by_key(tmp_path: Path) -> None:
    def said(**changes: Any) -> str:
        with pytest.raises(InvalidRequest) as refused:
            load_models(settings(**changes), torch.device("cpu"), offline=True)
        return str(refused.value)

    def control_of(tensors: Tensors) -> str:
        return said(
            controls=(control("sd15").model_copy(update={"weights": saved(tensors, tmp_path)}),)
        )

    net = load_file(family("sd15") / "controlnet-depth" / WEIGHTS)
    path = tmp_path / "one.safetensors"
    start = f"`controls[0].weights` ({path}): "
    assert control_of({"lora.down": torch.ones(1)}).startswith(
        f"{start}the file is not a ControlNet"
    )
    key = "mid_block.resnets.0.conv1.weight"
    assert control_of({k: v for k, v in net.items() if k != key}).startswith(
        f"{start}it lacks 1 of the network's weights, such as {key}"
    )
    assert "has shape (3,)" in control_of(net | {key: torch.ones(3)})
    other = load_file(family("sdxl") / "controlnet-depth" / WEIGHTS)
    assert control_of(other).startswith(f"{start}it takes text of width 40, the base model has 16")
    path.write_bytes(path.read_bytes()[:-9])
    single = control("sd15").model_copy(update={"weights": Weights(str(path))})
    assert said(controls=(single,)).startswith(f"{start}it is not a valid .safetensors file")
    vae = said(vae=saved({"a": torch.ones(1)}, tmp_path))
    assert vae.startswith(f"`vae` ({path}): the file is not an autoencoder")
    path.with_suffix(".pt").touch()
    assert "can run code" in said(vae=Weights(str(path.with_suffix(".pt"))))
