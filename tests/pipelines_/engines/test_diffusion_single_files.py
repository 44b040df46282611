"""Single-file weights: checkpoints in the original layout, kohya's LoRAs, several adapters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file, save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.ldm_names import ldm_unet_name
from nightrain.pipelines.engines.diffusion.models.loading import load_models
from nightrain.pipelines.engines.diffusion.models.parts import IpAdapter, Lora
from support.ldm import original_vae
from support.tiny_diffusion import family, ip_adapter, picture, request, settings

CPU = torch.device("cpu")


def loaded(**changes: Any) -> Any:
    return load_models(settings(changes.pop("family", "sd15"), **changes), CPU, offline=True).pipe


def original_unet(unet: Any) -> dict[str, torch.Tensor]:
    """Tensors of a UNet under the names of the original code."""

    def renamed(key: str) -> str:
        name, _, kind = key.rpartition(".")
        block = ".".join(name.split(".")[:2])
        attends = "up" not in block or hasattr(unet.get_submodule(block), "attentions")
        return f"model.diffusion_model.{ldm_unet_name(name, 1, attends)}.{kind}"

    return {renamed(key): value.contiguous() for key, value in unet.state_dict().items()}


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_original_names_are_those_that_diffusers_converts(name: str) -> None:
    unet = loaded(family=name).unet
    back = convert_ldm_unet_checkpoint(original_unet(unet), dict(unet.config))
    expected = unet.state_dict()
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[key], expected[key]) for key in expected)


def kohya(tensors: dict[str, torch.Tensor], layer: str, weight: torch.Tensor) -> torch.Tensor:
    """Add a LoRA of rank 2 and alpha 1 to a file's tensors; return its change of the weight."""
    down, up = torch.randn(2, weight[0].numel()), torch.randn(len(weight), 2)
    shape = (2, *weight.shape[1:])
    tensors[f"{layer}.lora_down.weight"] = down.reshape(shape)
    tensors[f"{layer}.lora_up.weight"] = up.reshape(len(weight), 2, *[1] * (weight.dim() - 2))
    tensors[f"{layer}.alpha"] = torch.tensor(1.0)
    return (0.5 * up @ down).reshape(weight.shape)


def test_several_loras_of_kohya_for_sdxl_change_every_network(tmp_path: Path) -> None:
    before = loaded(family="sdxl")
    attention = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    text = "encoder.layers.0.self_attn.q_proj"
    layers = {
        f"lora_unet_input_blocks_3_1_{attention.split('.', 4)[4].replace('.', '_')}": (
            before.unet.get_submodule(attention)
        ),
        "lora_unet_output_blocks_1_2_conv": before.unet.get_submodule(
            "up_blocks.0.upsamplers.0.conv"
        ),
        f"lora_te1_text_model_{text.replace('.', '_')}": _text(before.text_encoder, text),
        f"lora_te2_text_model_{text.replace('.', '_')}": _text(before.text_encoder_2, text),
    }
    tensors: dict[str, torch.Tensor] = {}
    changes = [kohya(tensors, key, layer.weight.detach()) for key, layer in layers.items()]
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        save_file({key: value.contiguous() for key, value in tensors.items()}, file)
    loras = tuple(
        Lora(weights=Weights(str(file)), scale=scale)
        for file, scale in zip(files, (0.25, 0.5), strict=True)
    )
    after = loaded(family="sdxl", lora=loras)
    changed = [
        after.unet.get_submodule(attention),
        after.unet.get_submodule("up_blocks.0.upsamplers.0.conv"),
        _text(after.text_encoder, text),
        _text(after.text_encoder_2, text),
    ]
    for old, change, new in zip(layers.values(), changes, changed, strict=True):
        torch.testing.assert_close(new.weight, old.weight + 0.75 * change)


def _text(encoder: Any, name: str) -> Any:
    return dict(encoder.named_modules()).get(name) or encoder.get_submodule(f"text_model.{name}")


def test_two_ip_adapters_each_have_their_scale() -> None:
    one = ip_adapter("sd15")
    style = request(1, style_image=picture(9))
    images = {
        str(given): DiffusionEngine(settings(ip_adapter=given)).generate([style])[0].image
        for given in (one, (one, one.model_copy(update={"scale": 0.0})), (one, one))
    }
    alone, with_zero, twice = images.values()
    assert np.array_equal(alone, with_zero) and not np.array_equal(alone, twice)
    other = IpAdapter(**(dict(one) | {"image_encoder": Weights("a/b")}))
    with pytest.raises(ValueError, match="several adapters share one image_encoder"):
        settings(ip_adapter=(one, other))


def checkpoint(folder: Path, name: str) -> Path:
    base = family(name) / "base"
    tensors = original_unet(loaded(family=name).unet)
    tensors |= {f"first_stage_model.{key}": v for key, v in original_vae(base / "vae").items()}
    text = load_file(base / "text_encoder/model.safetensors")
    is_xl = name == "sdxl"
    prefix = "conditioner.embedders.0" if is_xl else "cond_stage_model"
    for key, value in text.items():
        tensors[f"{prefix}.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    if is_xl:
        second = load_file(base / "text_encoder_2/model.safetensors")
        for key, value in open_clip(second).items():
            tensors[f"conditioner.embedders.1.model.{key}"] = value
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "s.safetensors")
    return folder / "s.safetensors"


def open_clip(text: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a text encoder under the names of OpenCLIP, which SDXL's second one has."""
    names = {
        "text_model.": "",
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final",
        "encoder.layers": "transformer.resblocks",
        "layer_norm": "ln_",
        "fc1": "c_fc",
        "fc2": "c_proj",
        "self_attn": "attn",
    }
    found = {"text_projection": text.pop("text_projection.weight").T}
    for key in list(text):
        if ".q_proj." in key:  # the original holds the three in one
            place, _, kind = key.rpartition("q_proj.")
            three = [text.pop(f"{place}{letter}_proj.{kind}") for letter in "qkv"]
            text[f"{place}in_proj_{kind}"] = torch.cat(three)
    for key, value in text.items():
        for ours, original in names.items():
            key = key.replace(ours, original)
        found[key] = value
    return found


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_single_file_draws_what_its_folder_draws(name: str, tmp_path: Path) -> None:
    wanted = settings(
        name,
        base=Weights(str(checkpoint(tmp_path, name))),
        base_config=Weights(str(family(name) / "base")),
    )
    made = DiffusionEngine(wanted, offline=True).generate([request(1)])[0]
    expected = DiffusionEngine(settings(name)).generate([request(1)])[0]
    assert np.array_equal(made.image, expected.image)
    assert made.provenance["model_base"].startswith("s.safetensors@")


def test_files_that_are_not_checkpoints_are_refused_by_key(tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").write_bytes(b"pickle")
    save_file({"lora_unet_a.alpha": torch.ones(1)}, tmp_path / "lora.safetensors")
    cases = {
        "old.ckpt": r"`base` \(.*old\.ckpt\): .* can run code",
        "lora.safetensors": r"`base` \(.*\): the file has no weights model\.diffusion_model",
        "none.safetensors": r"`base` \(.*\): There is no file",
    }
    config = Weights(str(family("sd15") / "base"))
    for name, said in cases.items():
        with pytest.raises(InvalidRequest, match=said):
            loaded(base=Weights(str(tmp_path / name)), base_config=config)
    with pytest.raises(InvalidRequest) as refused:
        loaded(base=Weights("owner/model", "a" * 40))
    assert str(refused.value).count("--include") <= 4
