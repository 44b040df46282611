"""Weights as people have them: half-precision variants, another autoencoder, older class names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.loading import load_models
from support.tiny_diffusion import control, family, request, settings

CPU = torch.device("cpu")


def copied(name: str, part: str, folder: Path) -> Path:
    shutil.copytree(family(name) / part, folder / part)
    return folder / part


def only_variant(folder: Path) -> Weights:
    """Rename the weights as `from_pretrained(variant="fp16")` leaves them in a cache."""
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    return Weights(str(folder))


def test_half_precision_variants_are_used_where_a_model_has_them(tmp_path: Path) -> None:
    base = only_variant(copied("sd15", "base", tmp_path))
    net = only_variant(copied("sd15", "controlnet-depth", tmp_path))
    half = control("sd15").model_copy(update={"weights": net})
    plain, of_base = settings(), settings(base=base, variant="fp16")
    of_both = settings(base=base, variant="fp16", controls=(half,))
    images = [DiffusionEngine(s).generate([request(1)])[0].image for s in (plain, of_base, of_both)]
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])


def test_a_missing_variant_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    base = only_variant(copied("sd15", "base", tmp_path))
    with pytest.raises(InvalidRequest, match=r"only those of fp16\. Set `variant: fp16`"):
        load_models(settings(base=base), CPU)
    with pytest.raises(InvalidRequest, match=r"no weights of variant 'fp8'\. Leave `variant` out"):
        load_models(settings(variant="fp8"), CPU)


def test_another_autoencoder_decodes_and_decides_its_own_precision(tmp_path: Path) -> None:
    vae = copied("sdxl", "base", tmp_path) / "vae"
    config = json.loads((vae / "config.json").read_text())
    for upcast, expected in ((True, torch.float32), (False, torch.float16)):
        (vae / "config.json").write_text(json.dumps(config | {"force_upcast": upcast}))
        given = settings("sdxl", vae=Weights(str(vae)), dtype="float16")
        models = load_models(given, CPU)
        assert models.pipe.vae.dtype == expected and models.pipe.unet.dtype == torch.float16
        assert models.names["vae"].startswith("vae@")
    with pytest.raises(
        InvalidRequest, match=r"^`vae` .*: unet@.* is a UNet2DConditionModel; expected"
    ):
        load_models(settings("sdxl", vae=Weights(str(family("sdxl") / "base/unet"))), CPU)


def test_a_union_of_the_authors_class_name_is_the_same_network(tmp_path: Path) -> None:
    """The authors' checkpoint is older than the class in diffusers and names another one."""
    net = copied("sdxl-union", "controlnet-union", tmp_path)
    config = json.loads((net / "config.json").read_text())
    (net / "config.json").write_text(json.dumps(config | {"_class_name": "ControlNetModel_Union"}))
    older = control("sdxl-union").model_copy(update={"weights": Weights(str(net))})
    images = [
        DiffusionEngine(settings("sdxl-union", controls=(one,))).generate([request(1)])[0].image
        for one in (control("sdxl-union"), older)
    ]
    assert np.array_equal(*images)
